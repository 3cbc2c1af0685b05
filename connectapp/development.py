"""`make run`: the stand-in SnapInspect, the web app, the worker and a product that uses its API, with demo data.

Generated secrets are kept in `var/`, so that a second run can still decrypt the tokens of the first. Settings in the
environment take precedence.
"""

import base64
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"
PYTHON = sys.executable
START_SECONDS = 60
TOO_SHORT_SECONDS = 5  # a process that ends sooner after its start is not restarted
STOP_SECONDS = 15
PRODUCT_SCOPES = ("customers", "connections:read", "connections:write", "events:read", "events:write", "proxy:read")
PREPARATIONS = {
    "migrate --verbosity 0": "Preparing the database",
    "createcachetable --verbosity 0": "Preparing the cache",
    "demo": "Adding the demo data",
}


def main() -> None:
    port, sandbox_port = _port("PORT", 8000), _port("SANDBOX_PORT", 8001)
    product_port = _port("PRODUCT_PORT", _free_port(above=max(port, sandbox_port)))
    VAR.mkdir(exist_ok=True)
    environment = _environment(port, sandbox_port, product_port)
    for command, what in PREPARATIONS.items():
        print(f"{what} ...", flush=True)  # noqa: T201
        finished = subprocess.run(  # noqa: S603
            [PYTHON, "manage.py", *command.split()],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            sys.exit(finished.stderr.strip() or f"manage.py {command} failed.")
    people = finished.stdout.strip()
    print("Starting the stand-in, the web app and the worker ...", flush=True)  # noqa: T201
    processes = Processes(environment)
    state = ["--state-file", "var/sandbox.db"]
    processes.start("stand-in", "-m", "integrations.sandbox", "--port", str(sandbox_port), *state)
    # It ends its own processes before it is ended itself.
    graceful = ["--graceful-timeout", str(STOP_SECONDS // 3)]
    processes.start("web", "-m", "gunicorn", "--config", "gunicorn.conf.py", "--log-level", "warning", *graceful)
    processes.start("worker", "manage.py", "worker")
    address = f"http://localhost:{port}/"
    if processes.wait_for(address):
        product = {"CONNECT_URL": address, "CONNECT_API_KEY": _product_key(environment), "PORT": str(product_port)}
        processes.start("product", "docs/examples/product.py", environment=product)
        print(  # noqa: T201
            f"\n  Open {address}\n  Sign in as {people}\n"
            f"  A product that uses it is http://127.0.0.1:{product_port}/ (docs/examples/product.py)\n"
            f"  The stand-in SnapInspect is http://127.0.0.1:{sandbox_port}/   Ctrl-C stops everything\n",
            flush=True,
        )
    sys.exit(0 if processes.watch() else 1)


def _port(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 65536:
        sys.exit(f"{name} is not a port number.")
    problem = _why_not(int(text))
    if problem:
        sys.exit(f"{name}: port {text} cannot be used ({problem}). Choose another: make run {name}=…")
    return int(text)


def _free_port(*, above: int) -> int:
    return next(port for port in itertools.chain(range(above + 1, 65536), range(1024, above)) if not _why_not(port))


def _why_not(port: int) -> str:
    """Why this port cannot be used; empty if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            return problem.strerror or "unknown"
    return ""


def _product_key(environment: dict[str, str]) -> str:
    """A key of the API for the product: the one of the last run, or a new one where its database is another."""
    path = VAR / "product_key"
    kept = path.read_text() if path.exists() else ""
    if kept:
        asked = urllib.request.Request(
            f"http://localhost:{environment['PORT']}/api/v1/customers?limit=1",
            headers={"Authorization": f"Bearer {kept}"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=30):  # noqa: S310
                return kept
        except urllib.error.HTTPError:
            pass
    scopes = [word for scope in PRODUCT_SCOPES for word in ("--scope", scope)]
    made = subprocess.run(  # noqa: S603
        [PYTHON, "manage.py", "create_api_key", "--name", "The product of make run", *scopes],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    path.touch(mode=0o600)
    path.write_text(made)
    return made


def _environment(port: int, sandbox_port: int, product_port: int) -> dict[str, str]:
    kept = _secrets()
    sandbox = f"http://127.0.0.1:{sandbox_port}/"
    redirect_uri = f"http://localhost:{port}/connect/callback/"
    defaults = {
        "DEBUG": "true",
        "SECRET_KEY": kept["secret_key"],
        "TOKEN_ENCRYPTION_KEYS": kept["encryption_key"],
        "SNAPINSPECT_CLIENT_ID": kept["client_id"],
        "SNAPINSPECT_CLIENT_SECRET": kept["client_secret"],
        "SNAPINSPECT_REDIRECT_URI": redirect_uri,
        "SNAPINSPECT_CONNECT_URL": f"{sandbox}integration/SnapInspectConnect",
        "SNAPINSPECT_EXCHANGE_URL": f"{sandbox}integration/ExchangeToken",
        "SNAPINSPECT_API_URL": sandbox,
        "SNAPINSPECT_WEBHOOK_SECRETS": kept["webhook_secret"],
        "SNAPINSPECT_INSPECTION_PATH": "inspections/{inspection_id}",
        "SNAPINSPECT_CHANGES_PATH": "inspections?since={since}",
        "SNAPINSPECT_SIGN_IN_FIELD": "iUserID",
        "CONNECT_RETURN_ORIGINS": f"http://127.0.0.1:{product_port}",
        "PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }
    environment = defaults | dict(os.environ)
    environment |= {
        "SANDBOX_CLIENT_ID": environment["SNAPINSPECT_CLIENT_ID"],
        "SANDBOX_CLIENT_SECRET": environment["SNAPINSPECT_CLIENT_SECRET"],
        "SANDBOX_REDIRECT_URI": environment["SNAPINSPECT_REDIRECT_URI"],
        "SANDBOX_APP_NAME": environment.get("APP_NAME", "Connect"),
        "SANDBOX_WEBHOOK_URL": (
            f"http://localhost:{port}/webhooks/snapinspect/"
            f"{environment['SNAPINSPECT_WEBHOOK_SECRETS'].partition(',')[0].strip()}/"
        ),
    }
    return environment


def _secrets() -> dict[str, str]:
    """The secrets of this checkout, generated once, in a file that only its owner can read."""
    path = VAR / "development.json"
    made = {
        "secret_key": secrets.token_urlsafe(50),
        "encryption_key": base64.b64encode(secrets.token_bytes(32)).decode(),
        "client_id": "development",
        "client_secret": secrets.token_urlsafe(24),
        "webhook_secret": secrets.token_urlsafe(32),
    }
    kept: dict[str, str] = made | (json.loads(path.read_text()) if path.exists() else {})
    path.touch(mode=0o600)
    path.write_text(json.dumps(kept, indent=2))
    return kept


class Processes:
    """Starts and stops the processes of a development run together, and restarts one that dies."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}
        self._stopping = False
        self._failed = False
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._stop)

    def start(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        """environment: all that this process gets; None for the settings of Connect."""
        self._commands[name] = [PYTHON, *arguments], self._environment if environment is None else environment
        self._run(name)

    def _run(self, name: str) -> None:
        command, environment = self._commands[name]
        self._started_at[name] = time.monotonic()
        # In our own process group, so that a signal to the group reaches all of them.
        self._running[name] = subprocess.Popen(command, cwd=ROOT, env=environment)  # noqa: S603

    def wait_for(self, address: str) -> bool:
        """Whether the address answered in time."""
        give_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up_at and not self._stopping:
            if any(process.poll() is not None for process in self._running.values()):
                return False
            try:
                with urllib.request.urlopen(address, timeout=5):  # noqa: S310  (our own address)
                    return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        return False

    def watch(self) -> bool:
        """Waits until all processes have stopped; returns False if one ended right after its start."""
        while not self._stopping:
            for name, process in list(self._running.items()):
                if process.poll() is None or self._stopping:
                    continue
                if time.monotonic() - self._started_at[name] < TOO_SHORT_SECONDS:
                    print(f"{name} ended right after its start; its reason stands above", flush=True)  # noqa: T201
                    if name == "product":  # the rest does not need it
                        del self._running[name]
                        continue
                    self._failed = self._stopping = True
                    break
                print(f"{name} ended; starting it again", flush=True)  # noqa: T201
                self._run(name)
            time.sleep(0.3)
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        give_up_at = time.monotonic() + STOP_SECONDS
        for process in self._running.values():
            try:
                process.wait(max(0.1, give_up_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return not self._failed

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True


if __name__ == "__main__":
    main()

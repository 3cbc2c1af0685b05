"""A PostgreSQL of the tests' own, from the machine's binaries: on a free loopback port, in a folder that goes away."""

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What is waited for is speed of a throw-away server; the tests that ask for durability start theirs with it on.
FAST = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]


def binaries() -> Path | None:
    """The folder with initdb and postgres, or None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3])
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class Server:
    """A server in a folder; it may be stopped like by a power cut, and started again where it was."""

    def __init__(self, home: str, options: tuple[str, ...]) -> None:
        folder = binaries()
        if folder is None:
            raise FileNotFoundError("PostgreSQL is not installed (apt-get install postgresql).")
        self._folder, self._home, self._options = folder, home, options or tuple(FAST)
        self._as_owner = as_owner_of(home)
        self._data = Path(home, "data")
        subprocess.run(
            [
                *self._as_owner, folder / "initdb", "-D", self._data,
                "-U", "tests", "--auth=trust", "--no-sync", "-E", "UTF8",
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        self._port = free_port()
        self.url = f"postgres://tests@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Ready when this returns."""
        with Path(self._home, "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._as_owner, self._folder / "postgres", "-D", self._data, "-p", str(self._port),
                    "-k", self._home, "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", *self._options,
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        _wait_until_ready(self._folder, self._port, self._process)

    @property
    def pid(self) -> int:
        """Of the process that starts all others."""
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast shutdown; SIGQUIT: at once, without a word to anybody."""
        self._process.send_signal(how)
        self._process.wait(120)


@contextmanager
def server(*options: str) -> Iterator[str]:
    """The URL of a running, empty server's database; stopped and deleted at the end."""
    with running(*options) as started:
        yield started.url


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """A running, empty server; stopped and deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="connect-postgres-") as home:
        started = Server(home, options)
        started.start()
        try:
            yield started
        finally:
            started.stop()


# Below those that the system gives to outgoing connections and to servers that ask for any; from a place of this
# process's own, and each once: what listens there may start seconds later.
_ports = itertools.cycle(range(20_000, 32_000))
for _ in range(secrets.randbelow(12_000)):
    next(_ports)


def free_port() -> int:
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


def as_owner_of(home: str) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs as nobody, who gets the folder."""
    if os.geteuid() != 0:
        return []
    shutil.chown(home, "nobody", "nogroup")
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def _wait_until_ready(folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + 120
    while time.monotonic() < give_up_at:
        ready = subprocess.run(
            [folder / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "1"],
            capture_output=True,
            check=False,
        )
        if ready.returncode == 0:
            return
        if process.poll() is not None:
            raise RuntimeError("PostgreSQL ended while starting.")
        time.sleep(0.05)  # nothing tells of it
    raise TimeoutError("PostgreSQL did not become ready.")

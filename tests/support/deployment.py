"""A deployment made by following docs/deploy.md line by line: nginx with TLS, gunicorn, a worker, production settings.

What the guide shows as `sh` is run; what it shows as `console` (packages, users, systemd) is replaced: the processes
are started from the ExecStart lines of deploy/systemd, with the environment file that the guide has written.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.settings import SENTINEL
from tests.support import postgres
from tests.support.postgres import free_port
from tests.support.running_app import ROOT, RunningApp
from tests.support.systemd_machine import TIMEOUT_STOP, WEB, WORKER, Machine

GUIDE = ROOT / "docs" / "deploy.md"
SITE = "connect.example.com"


def steps(guide: str) -> str:
    """The commands of the guide, in their order, as one script that ends at the first that fails."""
    return "set -eu\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```", guide, re.DOTALL | re.MULTILINE))


def without_checks(script: str) -> str:
    """The script without the checks, which tests.processes.test_deployment runs."""
    return re.sub(r"^\.venv/bin/python manage\.py (check|registration_email)\b.*\n", "", script, flags=re.M)


class Deployment(RunningApp):
    """The guide followed in `folder`, with this PostgreSQL; the stand-in takes SnapInspect's place.

    `fresh_packages` installs the pinned packages anew, as the guide says; otherwise this environment's are used.
    """

    certificate: Path
    # The upstream option of the shipped site.
    when_away = "max_fails=0"

    def __init__(self, folder: Path, database: postgres.Server, *, fresh_packages: bool = False) -> None:
        super().__init__(folder, database.url)
        self.database = database
        self.machine = Machine(folder / "srv", folder / "etc" / "environment")
        self.settings_files = [f"{folder.name}/etc/environment"]
        self.https_port, self.http_port = free_port(), free_port()
        self.url = f"https://localhost:{self.https_port}/"
        self.plain = f"http://localhost:{self.http_port}/"
        self._fresh_packages = fresh_packages
        self.web_ports = [self.port, free_port()]
        self.webs: dict[int, subprocess.Popen[bytes]] = {}  # by their ports
        self.certificate = folder / "tls" / "fullchain.pem"
        self.webhook_secret = f"{SENTINEL}-webhook-new"

    def __enter__(self) -> Self:
        self.install()
        (self.folder / "nginx").mkdir()
        script = self.script()
        if not self._fresh_packages:
            here = f"ln -s {Path(sys.prefix)} .venv"
            script = re.sub(r"^python3 -m venv .*\n.*pip install.*$", here, script, flags=re.MULTILINE)
        # What the reader is asked to change, and what differs on a machine that is nobody's server.
        own = {
            "APP": self.machine.home, "ETC": self.machine.settings_file.parent,
            "NGINX": self.folder / "nginx", "HOST": "localhost",
            "DATABASE_URL": self.environment["DATABASE_URL"], "EMAIL_URL": self.environment["EMAIL_URL"],
            "OPERATOR_EMAIL": "operator@example.com",
        }  # fmt: skip
        for name, value in own.items():
            script = re.sub(rf"\b{name}=(?!\$)\S+", f"{name}={shlex.quote(str(value))}", script, count=1)
        finished = subprocess.run(
            ["bash", "-c", script.replace("SETTINGS\n```", "SETTINGS\n")],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            capture_output=True, text=True, check=False, timeout=900 if self._fresh_packages else 300,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stdout + finished.stderr
        self._point_at_the_stand_in()
        self._make_certificate()
        return self

    def install(self) -> None:
        """The checkout that the guide begins with."""
        self.machine.pull()

    def script(self) -> str:
        """What is run of the guide."""
        return steps(GUIDE.read_text())

    def _point_at_the_stand_in(self) -> None:
        """SnapInspect's answer to the registration mail, and the addresses of this machine."""
        names = ["SNAPINSPECT_CLIENT_ID", "SNAPINSPECT_CLIENT_SECRET", "SNAPINSPECT_CONNECT_URL",
                 "SNAPINSPECT_EXCHANGE_URL", "SNAPINSPECT_API_URL", "SNAPINSPECT_INSPECTION_PATH"]  # fmt: skip
        lines = {name: self.environment[name] for name in names} | {
            "SNAPINSPECT_REDIRECT_URI": f"{self.url}connect/callback/",
            "SNAPINSPECT_WEBHOOK_SECRETS": self.webhook_secret,
            "CSRF_TRUSTED_ORIGINS": self.url.rstrip("/"),
            "ALLOW_INSECURE_LOOPBACK": "true",
            "SIGNUP_OPEN": "true",
            "EMAIL_VERIFICATION": "none",
            "LOG_LEVEL": "DEBUG",
        }
        self.machine.add_settings(**lines)
        self.environment |= {
            "SECRET_KEY": self.machine.settings()["SECRET_KEY"],
            "SANDBOX_REDIRECT_URI": lines["SNAPINSPECT_REDIRECT_URI"],
            "SANDBOX_WEBHOOK_URL": f"http://localhost:{self.port}/webhooks/snapinspect/{self.webhook_secret}/",
        }

    def _make_certificate(self) -> None:
        self.certificate.parent.mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2",
             "-keyout", self.certificate.with_name("privkey.pem"), "-out", self.certificate],
            check=True, capture_output=True,
        )  # fmt: skip

    def start_unit(self, unit: str, instance: object = 1, *, on: Machine | None = None) -> subprocess.Popen[bytes]:
        """`on`: one of several machines, when there are more than the one of the guide."""
        process = (on or self.machine).start_unit(unit, instance, self.folder / f"{unit}.log")
        self.processes.append(process)
        return process

    def start_nginx(self) -> subprocess.Popen[bytes]:
        """The shipped site in an nginx of our own: other ports, other folders, nothing else changed."""
        site = (self.folder / "nginx" / "connect.conf").read_text()
        for there, here in {
            "listen 80;": f"listen 127.0.0.1:{self.http_port};",
            "listen 80 default_server;": f"listen 127.0.0.1:{self.http_port} default_server;",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.https_port} ssl http2;",
            "listen 443 ssl http2 default_server;": f"listen 127.0.0.1:{self.https_port} ssl http2 default_server;",
            "127.0.0.1:8000 max_fails=0": f"127.0.0.1:{self.web_ports[0]} {self.when_away}",
            "127.0.0.1:8001 max_fails=0": f"127.0.0.1:{self.web_ports[1]} {self.when_away}",
            "/etc/ssl/connect": str(self.certificate.parent),
            "/var/log/nginx": str(self.folder),
        }.items():
            assert there in site, there
            site = site.replace(there, here)
        site = re.sub(r"^\s*listen \[::\].*\n", "", site, flags=re.MULTILINE)
        (self.folder / "nginx" / "connect.conf").write_text(site)
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/nginx/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx" / "nginx.conf").write_text(
            f"{user} daemon off; worker_processes 1; pid {self.folder}/nginx/pid;\n"
            f"error_log {self.folder}/nginx.log error; events {{ worker_connections 1024; }}\n"
            f"http {{ {temporary}\n include {self.folder}/nginx/connect.conf; }}\n"
        )
        command = ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx" / "nginx.conf")]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stderr
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        self.processes.append(process)
        self._wait_until_answers(f"{self.plain}connect/", process)
        return process

    def start_all(self) -> Self:
        self.start_sandbox()
        self.worker = self.start_unit(WORKER)
        self.start_nginx()
        self._start_webs()
        return self

    def _start_webs(self) -> None:
        for port in self.web_ports:
            self.webs[port] = self.start_unit(WEB, port)
        for port, process in self.webs.items():
            self.wait_until_lives(port, process)

    def wait_until_lives(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self._wait_until_answers(f"http://127.0.0.1:{port}/health/live", process)

    @contextmanager
    def without_web(self) -> Iterator[None]:
        """No web process runs meanwhile."""
        for process in self.webs.values():
            self.kill(process)
        try:
            yield
        finally:
            self._start_webs()

    def restart_web(self, port: int) -> None:
        """As systemctl and the guide's curl do it: SIGTERM, an end, a start, an answer."""
        self._end(self.webs[port])
        self.webs[port] = self.start_unit(WEB, port)
        self.wait_until_lives(port, self.webs[port])

    def restart_worker(self) -> None:
        self._end(self.worker)
        self.worker = self.start_unit(WORKER)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        process.wait(TIMEOUT_STOP)

    def manage(self, *arguments: str) -> str:
        finished = self.machine.run(".venv/bin/python", "manage.py", *arguments)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout


@contextmanager
def deployed(folder: Path, database: postgres.Server, *, fresh_packages: bool = False) -> Iterator[Deployment]:
    with Deployment(folder, database, fresh_packages=fresh_packages) as deployment:
        yield deployment.start_all()

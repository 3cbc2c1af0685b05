"""A deployment made by following docs/deploy.md to the letter: nginx with TLS, gunicorn, a worker, production settings.

What the guide shows as `sh` is run; what it shows as `console` (packages, users, systemd) is played: the processes are
started from the ExecStart lines of deploy/systemd, with the environment file that the guide has written.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.postgres import free_port
from tests.settings import SENTINEL
from tests.world import ROOT, World, wait_until

GUIDE = ROOT / "docs" / "deploy.md"
UNITS = ROOT / "deploy" / "systemd"
# What a clone of the repository would hold, for one that has changes not committed yet.
CLONED = ["manage.py", "gunicorn.conf.py", "requirements.txt", "connectapp", "accounts", "integrations", "templates",
          "static", "deploy"]  # fmt: skip
SITE = "connect.example.com"


def steps(guide: str) -> str:
    """The commands of the guide, in their order, as one script that ends at the first that fails."""
    return "set -eu\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```", guide, re.DOTALL | re.MULTILINE))


def command_of(unit: str) -> list[str]:
    line = re.search(r"^ExecStart=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)
    assert line is not None
    return shlex.split(line[1])


@dataclass(frozen=True)
class Machine:
    """Where the app is installed, as far as its processes can tell: a checkout with its `var/`, and a settings file."""

    home: Path
    settings_file: Path

    def settings(self) -> dict[str, str]:
        """As systemd reads an EnvironmentFile: a later line wins."""
        lines = self.settings_file.read_text().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def add_settings(self, **settings: object) -> None:
        with self.settings_file.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], **self.settings()}

    def start_unit(self, unit: str, log: Path) -> subprocess.Popen[bytes]:
        """The process of a systemd unit, in its folder and with its environment only."""
        command = [part.replace("/srv/connect", str(self.home)) for part in command_of(unit)]
        with log.open("ab") as written:
            return subprocess.Popen(
                command, cwd=self.home, env=self.environment, stdout=written, stderr=written, start_new_session=True
            )


class Deployment(World):
    """The guide followed in `folder`, with PostgreSQL at `database_url`; the stand-in plays SnapInspect.

    `fresh_packages` installs the pinned packages anew, as the guide says; otherwise this environment's are used.
    """

    certificate: Path

    def __init__(self, folder: Path, database_url: str, *, fresh_packages: bool) -> None:
        super().__init__(folder, database_url)
        self.machine = Machine(folder / "srv", folder / "etc" / "environment")
        self.settings_files = [f"{folder.name}/etc/environment"]
        self.https_port, self.http_port = free_port(), free_port()
        self.app = f"https://localhost:{self.https_port}/"
        self.plain = f"http://localhost:{self.http_port}/"
        self._fresh_packages = fresh_packages
        self.web_ports = [self.port]
        self.certificate = folder / "tls" / "fullchain.pem"
        self.webhook_secret = f"{SENTINEL}-webhook-new"

    def __enter__(self) -> "Deployment":
        for name in CLONED:
            there = ROOT / name
            if there.is_dir():
                shutil.copytree(there, self.machine.home / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                self.machine.home.mkdir(exist_ok=True)
                shutil.copy(there, self.machine.home / name)
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
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stdout + finished.stderr
        self._point_at_the_stand_in()
        self._make_certificate()
        return self

    def script(self) -> str:
        """What is run of the guide."""
        return steps(GUIDE.read_text())

    def _point_at_the_stand_in(self) -> None:
        """SnapInspect's answer to the registration mail, and the addresses of this machine."""
        names = ["SNAPINSPECT_CLIENT_ID", "SNAPINSPECT_CLIENT_SECRET", "SNAPINSPECT_CONNECT_URL",
                 "SNAPINSPECT_EXCHANGE_URL", "SNAPINSPECT_API_URL", "SNAPINSPECT_INSPECTION_PATH", "PORT"]  # fmt: skip
        lines = {name: self.environment[name] for name in names} | {
            "SNAPINSPECT_REDIRECT_URI": f"{self.app}connect/callback/",
            "SNAPINSPECT_WEBHOOK_SECRETS": self.webhook_secret,
            "CSRF_TRUSTED_ORIGINS": self.app.rstrip("/"),
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

    def start_unit(self, unit: str, on: Machine | None = None) -> subprocess.Popen[bytes]:
        """`on`: one of several machines, when there are more than the one of the guide."""
        process = (on or self.machine).start_unit(unit, self.folder / f"{unit}.log")
        self.processes.append(process)
        return process

    def start_nginx(self) -> subprocess.Popen[bytes]:
        """The shipped site in an nginx of our own: other ports, other folders, nothing else changed."""
        site = (self.folder / "nginx" / "connect.conf").read_text()
        for there, here in {
            "listen 80;": f"listen 127.0.0.1:{self.http_port};",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.https_port} ssl http2;",
            "server 127.0.0.1:8000;": "\n    ".join(
                f"server 127.0.0.1:{port} fail_timeout=1s;" for port in self.web_ports
            ),
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
        return process

    def start_all(self) -> "Deployment":
        self.start_sandbox()
        self.start_unit("connect-web.service")
        self.start_unit("connect-worker@.service")
        self.start_nginx()
        wait_until(lambda: self._answers(200))
        return self

    def manage(self, *arguments: str) -> str:
        finished = subprocess.run(
            [self.machine.home / ".venv/bin/python", "manage.py", *arguments],
            cwd=self.machine.home, env=self.machine.environment,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    def _answers(self, status: int) -> bool:
        try:
            return requests.get(self.app, verify=str(self.certificate), timeout=5).status_code == status
        except requests.RequestException:
            return False


@contextmanager
def deployed(folder: Path, database_url: str, *, fresh_packages: bool = False) -> Iterator[Deployment]:
    with Deployment(folder, database_url, fresh_packages=fresh_packages) as deployment:
        yield deployment.start_all()

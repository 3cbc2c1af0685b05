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
from pathlib import Path

import requests

from tests.postgres import free_port
from tests.settings import SENTINEL
from tests.world import ROOT, Visitor, World, wait_until

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


class Deployment(World):
    """The guide followed in `folder`, with PostgreSQL at `database_url`; the stand-in plays SnapInspect.

    `fresh_packages` installs the pinned packages anew, as the guide says; otherwise this environment's are used.
    """

    def __init__(self, folder: Path, database_url: str, *, fresh_packages: bool) -> None:
        super().__init__(folder, database_url)
        self.home, self.settings_file = folder / "srv", folder / "etc" / "environment"
        self.https_port, self.http_port = free_port(), free_port()
        self.app = f"https://localhost:{self.https_port}/"
        self.plain = f"http://localhost:{self.http_port}/"
        self._fresh_packages = fresh_packages
        self.certificate = folder / "tls" / "fullchain.pem"
        self.webhook_secret = f"{SENTINEL}-webhook-new"

    def __enter__(self) -> "Deployment":
        for name in CLONED:
            there = ROOT / name
            if there.is_dir():
                shutil.copytree(there, self.home / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                self.home.mkdir(exist_ok=True)
                shutil.copy(there, self.home / name)
        (self.folder / "nginx").mkdir()
        script = steps(GUIDE.read_text())
        if not self._fresh_packages:
            here = f"ln -s {Path(sys.prefix)} .venv"
            script = re.sub(r"^python3 -m venv .*\n.*pip install.*$", here, script, flags=re.MULTILINE)
        # What the reader is asked to change, and what differs on a machine that is nobody's server.
        own = {
            "APP": self.home, "ETC": self.settings_file.parent, "NGINX": self.folder / "nginx", "HOST": "localhost",
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
        with self.settings_file.open("a") as settings:
            settings.writelines(f"{name}={value}\n" for name, value in lines.items())
        self.environment |= {
            "SECRET_KEY": self.settings()["SECRET_KEY"],
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

    def settings(self) -> dict[str, str]:
        """As systemd reads an EnvironmentFile: a later line wins."""
        lines = self.settings_file.read_text().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def start_unit(self, unit: str) -> subprocess.Popen[bytes]:
        """The process of a systemd unit, in its folder and with its environment only."""
        command = [part.replace("/srv/connect", str(self.home)) for part in command_of(unit)]
        with (self.folder / f"{unit}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.home, env={"PATH": os.environ["PATH"], **self.settings()},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def start_nginx(self) -> subprocess.Popen[bytes]:
        """The shipped site in an nginx of our own: other ports, other folders, nothing else changed."""
        site = (self.folder / "nginx" / "connect.conf").read_text()
        for there, here in {
            "listen 80;": f"listen 127.0.0.1:{self.http_port};",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.https_port} ssl http2;",
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
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

    def visitor(self) -> Visitor:
        visitor = Visitor(self)
        visitor.http.verify = str(self.certificate)
        return visitor

    def manage(self, *arguments: str) -> str:
        finished = subprocess.run(
            [self.home / ".venv/bin/python", "manage.py", *arguments],
            cwd=self.home, env={"PATH": os.environ["PATH"], **self.settings()},
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

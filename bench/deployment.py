"""What is measured: production settings, a database of its own, and the processes that production has."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.support.postgres import free_port

ROOT = Path(__file__).resolve().parent.parent
WEBHOOK_SECRET = "measured-webhook-address"
OLD_KEY, NEW_KEY = "bWVhc3VyZWQgd2l0aCB0aGUga2V5IGJlZm9yZSB0aGk=", "bWVhc3VyZWQgd2l0aCB0aGlzIGtleSwgdGhlbmV3ZXM="
SETTINGS = {
    "DEBUG": "false",
    "SECRET_KEY": "of-a-deployment-that-is-only-measured-" + "k" * 40,
    "ALLOWED_HOSTS": "localhost",
    # nginx stands in front of it: requests say that they came by https, and from where.
    "TRUSTED_PROXIES": "1",
    "ALLOW_INSECURE_LOOPBACK": "true",
    "DEFAULT_FROM_EMAIL": "connect@example.com",
    "OPERATOR_EMAIL": "operator@example.com",
    "TOKEN_ENCRYPTION_KEYS": OLD_KEY,
    "SNAPINSPECT_CLIENT_ID": "measured",
    "SNAPINSPECT_CLIENT_SECRET": "not-a-secret",
    "SNAPINSPECT_REDIRECT_URI": "https://localhost/connect/callback/",
    "SNAPINSPECT_WEBHOOK_SECRETS": WEBHOOK_SECRET,
    "DJANGO_SETTINGS_MODULE": "connectapp.settings",
}
KEPT = {"PATH", "HOME", "LANG", "PYTHONPATH"}


@dataclass(frozen=True)
class Web:
    """A gunicorn that answers."""

    port: int
    pid: int

    def processor_seconds(self) -> float:
        """What its workers have used so far; always 0 where the system does not tell (it is asked as Linux is)."""
        try:
            workers = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            used = [Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[11:13] for worker in workers]
        except OSError:
            return 0.0
        return sum(int(ticks) for both in used for ticks in both) / os.sysconf("SC_CLK_TCK")


class Deployment:
    """`api_url`: where SnapInspect's API is. Everything that is written lands in `folder` and the database."""

    def __init__(self, folder: Path, database_url: str, api_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.is_on_postgresql = database_url.startswith("postgres")
        self._environment = {name: value for name, value in os.environ.items() if name in KEPT} | SETTINGS
        self._environment |= {
            "DATABASE_URL": database_url,
            "SPOOL_DIR": str(folder / "spool"),
            "EMAIL_URL": f"filemail:///{folder / 'mail'}",
            "SNAPINSPECT_API_URL": api_url,
        }

    def with_settings(self, **settings: str) -> "Deployment":
        """The same database and folder under other settings."""
        changed = copy(self)
        changed._environment = self._environment | settings
        return changed

    def at(self, database_url: str) -> "Deployment":
        """The same with another database."""
        return Deployment(self.folder, database_url, self._environment["SNAPINSPECT_API_URL"])

    def prepare(self) -> "Deployment":
        for command in (["migrate", "--verbosity", "0"], ["createcachetable"]):
            self._finished(["manage.py", *command])
        return self

    def collect_static(self) -> None:
        """Pages name their style sheets by what is in them: that is written once for all deployments."""
        self._finished(["manage.py", "collectstatic", "--noinput", "--verbosity", "0"])

    def run(self, module: str, **job: Any) -> Any:
        """What a program of this folder prints, as JSON, when it is given this job."""
        return json.loads(self._finished(["-m", module], json.dumps(job)).splitlines()[-1])

    @contextmanager
    def web(
        self, application: str = "connectapp.wsgi", *, config: str = "gunicorn.conf.py", **environment: str
    ) -> Iterator[Web]:
        """gunicorn as in production."""
        port = free_port()
        command = ["-m", "gunicorn", "--config", config, application]
        with self.process("web", command, PORT=str(port), **environment) as gunicorn:
            yield Web(answering(port), gunicorn.pid)

    @contextmanager
    def process(self, name: str, command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT, env=self._environment | environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def sql(self, statement: str, rows: Iterable[tuple[Any, ...]] = ()) -> list[tuple[Any, ...]]:
        """What the database answers, past Django; with `rows`, once for each of them. `?` stands for a value."""
        given = list(rows)
        connection: Any
        if self.is_on_postgresql:
            connection = psycopg.connect(self.database_url)
            statement = statement.replace("?", "%s")
        else:
            connection = sqlite3.connect(urlsplit(self.database_url).path[1:], timeout=60)
        try:
            cursor = connection.cursor()
            if given:
                cursor.executemany(statement, given)
            else:
                cursor.execute(statement)
            found = cursor.fetchall() if cursor.description else []
            connection.commit()
        finally:
            connection.close()
        return found

    def _finished(self, command: list[str], given: str = "") -> str:
        finished = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT, env=self._environment, input=given, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if finished.returncode:
            raise RuntimeError(f"{command} failed:\n{finished.stdout[-2000:]}{finished.stderr[-4000:]}")
        return finished.stdout


def answering(port: int) -> int:
    """The port, once something listens on it."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return port
    raise TimeoutError(f"Nothing listens on port {port}.")

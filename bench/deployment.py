"""A deployment for benchmarks: production settings, a database of its own, and the processes of production."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.support.postgres import free_port

ROOT = Path(__file__).resolve().parent.parent
WEBHOOK_SECRET = "benchmark-webhook-address"
OLD_KEY, NEW_KEY = "bWVhc3VyZWQgd2l0aCB0aGUga2V5IGJlZm9yZSB0aGk=", "bWVhc3VyZWQgd2l0aCB0aGlzIGtleSwgdGhlbmV3ZXM="
SETTINGS = {
    "DEBUG": "false",
    "SECRET_KEY": "of-a-deployment-for-benchmarks-only-" + "k" * 40,
    "ALLOWED_HOSTS": "localhost",
    # As behind nginx: requests carry X-Forwarded-Proto and X-Forwarded-For.
    "TRUSTED_PROXIES": "1",
    "ALLOW_INSECURE_LOOPBACK": "true",
    "DEFAULT_FROM_EMAIL": "connect@example.com",
    "OPERATOR_EMAIL": "operator@example.com",
    "TOKEN_ENCRYPTION_KEYS": OLD_KEY,
    "SNAPINSPECT_CLIENT_ID": "benchmark",
    "SNAPINSPECT_CLIENT_SECRET": "not-a-secret",
    "SNAPINSPECT_REDIRECT_URI": "https://localhost/connect/callback/",
    "SNAPINSPECT_WEBHOOK_SECRETS": WEBHOOK_SECRET,
    # A measurement ends before this limit is reached.
    "API_REQUESTS_A_MINUTE": "100000000",
    "DJANGO_SETTINGS_MODULE": "connectapp.settings",
}
# Of this process's own environment.
PASSED_ON = {"PATH", "HOME", "LANG", "PYTHONPATH"}


@dataclass(frozen=True)
class Web:
    """A running gunicorn."""

    port: int
    pid: int


class Deployment:
    """`api_url`: the address of SnapInspect's API. Everything that is written goes to `folder` and the database."""

    def __init__(self, folder: Path, database_url: str, api_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.api_url = api_url
        self.is_on_postgresql = database_url.startswith("postgres")
        self._environment = {name: value for name, value in os.environ.items() if name in PASSED_ON} | SETTINGS
        self._environment |= {
            "DATABASE_URL": database_url,
            "SPOOL_DIR": str(folder / "spool"),
            "EMAIL_URL": f"filemail:///{folder / 'mail'}",
            "SNAPINSPECT_API_URL": api_url,
        }

    def with_settings(self, **settings: str) -> "Deployment":
        """The same database and folder with other settings."""
        changed = copy(self)
        changed._environment = self._environment | settings
        return changed

    def with_database(self, database_url: str) -> "Deployment":
        """The same folder and API with another database."""
        return Deployment(self.folder, database_url, self.api_url)

    def migrate(self) -> "Deployment":
        for command in (["migrate", "--verbosity", "0"], ["createcachetable"]):
            self._output_of(["manage.py", *command])
        return self

    def collect_static(self) -> None:
        self._output_of(["manage.py", "collectstatic", "--noinput", "--verbosity", "0"])

    def run(self, module: str, **job: Any) -> Any:
        """Runs a module of this package with this job as JSON on its standard input; returns the JSON it prints."""
        return json.loads(self._output_of(["-m", module], json.dumps(job)).splitlines()[-1])

    @contextmanager
    def web(
        self, application: str = "connectapp.wsgi", *, config: str = "gunicorn.conf.py", **environment: str
    ) -> Iterator[Web]:
        """A gunicorn that answers."""
        port = free_port()
        command = ["-m", "gunicorn", "--config", config, application]
        with self.process("web", command, PORT=str(port), **environment) as gunicorn:
            wait_for_port(port)
            yield Web(port, gunicorn.pid)

    @contextmanager
    def process(self, name: str, command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A Python process; terminated at the end, and killed with its children if that takes more than 40 s."""
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
        """The rows of a committed statement; with `rows` it is executed for each of them. `?` is a placeholder."""
        parameters = list(rows)
        connection: Any
        if self.is_on_postgresql:
            connection = psycopg.connect(self.database_url)
            statement = statement.replace("?", "%s")
        else:
            connection = sqlite3.connect(urlsplit(self.database_url).path[1:], timeout=60)
        try:
            cursor = connection.cursor()
            if parameters:
                cursor.executemany(statement, parameters)
            else:
                cursor.execute(statement)
            found = cursor.fetchall() if cursor.description else []
            connection.commit()
        finally:
            connection.close()
        return found

    def _output_of(self, command: list[str], standard_input: str = "") -> str:
        finished = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT, env=self._environment, input=standard_input, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if finished.returncode:
            raise RuntimeError(f"{command} failed:\n{finished.stdout[-2000:]}{finished.stderr[-4000:]}")
        return finished.stdout


def wait_for_port(port: int) -> None:
    """Returns once something listens on this port. Raises TimeoutError after a minute."""

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, 60, every=0.05)


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float) -> None:
    """Raises TimeoutError after so many seconds. Unlike `tests.support.running_app` it needs no Django settings."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError
        time.sleep(every)

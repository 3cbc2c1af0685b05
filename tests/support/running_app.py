"""A running app for tests: stand-in, web and worker as real processes, with a database of their own.

Everything they write (logs, mail, the database) lands in one folder, which the secret scan reads at the end.
"""

import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import requests
from django.core import signing

from tests.settings import SENTINEL
from tests.support.clients import Sandbox
from tests.support.http_visitor import Visitor
from tests.support.postgres import free_port
from tests.support.wait import TIMEOUT, wait_until

ROOT = Path(__file__).resolve().parents[2]
NOT_FORGOTTEN = (
    "django_content_type",
    "auth_permission",
    "django_migrations",
    "integrations_worker",
    "sqlite_",
)


def fresh_database(how: str = "") -> str:
    """The URL of a new database beside the one this run tests with: empty, or as `how` says in SQL."""
    url, name = os.environ["DATABASE_URL"], f"app_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {how}")
    return f"{url.rsplit('/', 1)[0]}/{name}"


class DatabaseTemplate:
    """A migrated, empty database of this run's kind. A copy of it is seconds faster than migrating a new one."""

    def __init__(self, folder: Path) -> None:
        on_server = os.environ.get("DATABASE_URL", "").startswith("postgres")
        self._app = RunningApp(folder, fresh_database() if on_server else "").prepare()

    def copy(self, folder: Path) -> str:
        """The URL of a copy, which is a file in this folder, or a database on the same server."""
        if self._app.is_on_postgresql:
            return fresh_database(f"TEMPLATE {self._app.environment['DATABASE_URL'].rsplit('/', 1)[1]}")
        copy = database_file(folder)
        copy.parent.mkdir()
        shutil.copy(database_file(self._app.folder), copy)
        return f"sqlite:///{copy}"


def database_file(folder: Path) -> Path:
    """The SQLite file of a running app. It has its own folder, which tests rename to take the database away."""
    return folder / "data" / "db.sqlite3"


class RunningApp:
    """`database_url` empty means a SQLite file in `folder`; what is in that database stays as it is."""

    def __init__(self, folder: Path, database_url: str = "", **settings: str) -> None:
        self.folder = folder
        self.port, sandbox_port = free_port(), free_port()
        self.url = f"http://localhost:{self.port}/"
        self.sandbox = Sandbox(f"http://127.0.0.1:{sandbox_port}/")
        self._sandbox_port = sandbox_port
        self.processes: list[subprocess.Popen[bytes]] = []
        self.command_prefix: tuple[str, ...] = ()  # such as strace, for what is started from now on
        self.certificate: Path | None = None  # of its https, if it has any
        self.settings_files: list[str] = []  # where its secrets have to stand, as `secret_scan.leaks` names them
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}},
            "DEBUG": "true",
            "SECRET_KEY": f"{SENTINEL}-secret-key-" + "w" * 40,
            "TOKEN_ENCRYPTION_KEYS": "d29ybGRzIHNlYWwgdG9rZW5zIHdpdGggdGhpcyBvbmU=",
            "DATABASE_URL": database_url or f"sqlite:///{database_file(folder)}",
            "SPOOL_DIR": str(folder / "spool"),
            "EMAIL_URL": f"filemail:///{folder / 'mail'}",
            "SNAPINSPECT_CLIENT_ID": "test-client",
            "SNAPINSPECT_CLIENT_SECRET": f"{SENTINEL}-client-secret",
            "SNAPINSPECT_REDIRECT_URI": f"{self.url}connect/callback/",
            "SNAPINSPECT_CONNECT_URL": f"{self.sandbox.url}integration/SnapInspectConnect",
            "SNAPINSPECT_EXCHANGE_URL": f"{self.sandbox.url}integration/ExchangeToken",
            "SNAPINSPECT_API_URL": self.sandbox.url,
            "SNAPINSPECT_WEBHOOK_SECRETS": f"{SENTINEL}-webhook-new,{SENTINEL}-webhook-old",
            "SNAPINSPECT_INSPECTION_PATH": "inspections/{inspection_id}",
            "SNAPINSPECT_CHANGES_PATH": "inspections?since={since}",
            "SNAPINSPECT_SIGN_IN_FIELD": "iUserID",
            "EMAIL_VERIFICATION": "none",
            "LOG_LEVEL": "DEBUG",
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
            "SANDBOX_CLIENT_ID": "test-client",
            "SANDBOX_CLIENT_SECRET": f"{SENTINEL}-client-secret",
            "SANDBOX_REDIRECT_URI": f"{self.url}connect/callback/",
            "SANDBOX_APP_NAME": "Connect",
            "SANDBOX_TOKEN_PREFIX": SENTINEL,
            "SANDBOX_WEBHOOK_URL": f"{self.url}webhooks/snapinspect/{SENTINEL}-webhook-new/",
            **settings,
        }

    def __enter__(self) -> "RunningApp":
        return self

    def prepare(self) -> "RunningApp":
        """Makes the tables of a database that has none."""
        for command in ("migrate", "createcachetable"):
            self.manage(command, "--verbosity", "0")
        return self

    def __exit__(self, *_: object) -> None:
        # Told to end, gunicorn would first wait for the browsers that keep a connection open.
        for process in self.processes:
            self.kill(process)
        self._write_dump()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Runs SQL without Django, since a process for each query would take seconds. Commits."""
        with self._connection() as connection:
            found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return found

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """Commits at the end."""
        url = self.environment["DATABASE_URL"]
        connection: Any = (
            psycopg.connect(url.partition("?")[0])
            if self.is_on_postgresql
            else sqlite3.connect(urlsplit(url).path[1:], timeout=TIMEOUT)
        )
        try:
            yield connection
            connection.commit()
        finally:
            connection.close()

    def _tables(self) -> list[str]:
        on_sqlite = "SELECT name FROM sqlite_master WHERE type = 'table'"
        on_postgresql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return [table for (table,) in self.rows(on_postgresql if self.is_on_postgresql else on_sqlite)]

    def forget(self) -> None:
        """Empties its tables, but for what `migrate` has written and what running workers note about themselves."""
        self._write_dump()
        tables = [f'"{table}"' for table in self._tables() if not table.startswith(NOT_FORGOTTEN)]
        # A worker may be writing to the same tables at this moment.
        for _ in range(5):
            with suppress(psycopg.errors.DeadlockDetected, psycopg.errors.ForeignKeyViolation):
                # At once: foreign keys are looked at when it is committed (on SQLite this connection looks at none).
                with self._connection() as connection:
                    for table in tables:
                        connection.execute(f"DELETE FROM {table}")
                return
        raise AssertionError("the tables cannot be emptied")

    @property
    def is_on_postgresql(self) -> bool:
        return self.environment["DATABASE_URL"].startswith("postgres")

    @property
    def vendor(self) -> str:
        """Django's name of the database's kind."""
        return "postgresql" if self.is_on_postgresql else "sqlite"

    def _write_dump(self) -> None:
        """For the secret scan at the end."""
        with (self.folder / "dump.txt").open("a") as dump:
            dump.writelines(f"{line}\n" for line in self._dump())

    def _dump(self) -> Iterator[str]:
        """Every row of every table, and the sessions decoded: Django keeps them compressed."""
        for table in self._tables():
            for row in self.rows(f'SELECT * FROM "{table}"'):
                yield f"{table} {row}"
        for (session,) in self.rows("SELECT session_data FROM django_session"):
            salt = "django.contrib.sessions.SessionStore"
            yield f"session {signing.loads(session, key=self.environment['SECRET_KEY'], salt=salt)}"

    def manage(self, *arguments: str) -> str:
        """The output of a management command; raises when it fails."""
        finished = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False, timeout=TIMEOUT * 5,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    def start(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Starts a process of this app; what it prints goes to `<name>.log` in the folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.command_prefix, sys.executable, *arguments],
                cwd=ROOT, env=self.environment | environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def start_sandbox(self) -> subprocess.Popen[bytes]:
        process = self.start("sandbox", "-m", "integrations.sandbox", "--port", str(self._sandbox_port))
        self._wait_until_answers(self.sandbox.url, process)
        return process

    def start_web(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        process = self.start(
            "web", "-m", "gunicorn", "--config", "gunicorn.conf.py", "--log-level", "debug", "--access-logfile", "-",
            *options, **environment,
        )  # fmt: skip
        self._wait_until_answers(self.url, process)
        return process

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        return self.start("worker", "manage.py", "worker", **environment)

    def start_all(self) -> "RunningApp":
        self.start_sandbox()
        self.start_web()
        self.start_worker()
        return self

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        """kill -9, children included. A process that has ended is left alone: its id may be in use again."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIMEOUT)

    def session(self) -> requests.Session:
        """An HTTP session that trusts the app's certificate and ignores proxies and .netrc of this machine."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.certificate) if self.certificate else True
        return session

    def visitor(self) -> Visitor:
        return Visitor(self)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    @staticmethod
    def _wait_until_answers(url: str, process: subprocess.Popen[bytes]) -> None:
        def answers() -> bool:
            assert process.poll() is None, f"{process.args!r} ended"
            try:
                return requests.get(url, timeout=5).status_code < 500
            except (requests.ConnectionError, requests.Timeout):
                return False

        wait_until(answers)


@contextmanager
def without_database(app: RunningApp) -> Iterator[None]:
    """Makes the app's database unreachable for every process; it comes back unharmed."""
    url = app.environment["DATABASE_URL"]
    if not app.is_on_postgresql:
        home = Path(urlsplit(url).path[1:]).parent
        away = home.rename(home.with_name("away"))
        yield
        away.rename(home)
        return
    name = url.rpartition("/")[2]
    with psycopg.connect(url.rpartition("/")[0] + "/postgres", autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

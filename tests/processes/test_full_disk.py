"""Row O4 of the score card: the database's disk is full under running processes, and then has room again.

The disk is real, and small: SQLite's files lie on it with the folder for answers of exchanges; of PostgreSQL the
tablespace that holds every table and index of the app.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest
import requests
from django.db import connection as database

from tests.support import postgres, secret_scan, small_disk
from tests.support.deliveries import NEW, payload
from tests.support.fork_server import ForkServer, job
from tests.support.measurements import record
from tests.support.running_app import RunningApp
from tests.support.sizes import size
from tests.support.troubled_connections import refuse
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.processes,
    pytest.mark.skipif(not small_disk.can_be_mounted(), reason="a small disk can be mounted by root only"),
]
DELIVERIES = size(20, 200)
STATE = """
from integrations.models import Connection, Delivery, Event
print(Delivery.objects.count(), Delivery.objects.received().count() + Event.objects.open().count())
print(*Connection.objects.values_list("pk", flat=True))
"""


@contextmanager
def deployment(folder: Path) -> Iterator[tuple[RunningApp, small_disk.SmallDisk]]:
    """A running app whose database is on a small disk; its logs and mail are elsewhere."""
    with ExitStack() as opened:
        disk = opened.enter_context(small_disk.small_disk())
        url = f"sqlite:///{disk.folder / 'db.sqlite3'}"
        if database.vendor == "postgresql":
            url = _on_tablespace(opened.enter_context(postgres.running("-c", "fsync=on")).url, disk.folder)
        running_app = opened.enter_context(RunningApp(folder, url, SPOOL_DIR=str(disk.folder / "spool")).prepare())
        yield running_app.start_all(), disk
        leaks = secret_scan.leaks([folder, disk.folder])
    assert leaks == []


def _on_tablespace(server: str, folder: Path) -> str:
    place = folder / "tables"
    place.mkdir()
    shutil.chown(place, "nobody", "nogroup")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        connection.execute("CREATE DATABASE on_small_disk TABLESPACE small")
    return server.rsplit("/", 1)[0] + "/on_small_disk"


def integrity(running_app: RunningApp) -> str:
    """What the database itself says about its files."""
    url = running_app.environment["DATABASE_URL"]
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return "integrity_check " + str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        ours = "relnamespace = 'public'::regnamespace"
        corrupt = connection.execute(
            f"SELECT count(*) FROM pg_class, LATERAL verify_heapam(oid) WHERE relkind = 'r' AND {ours}"
        ).fetchone()
        indexes = connection.execute(
            "SELECT count(bt_index_check(pg_class.oid, true)::text) FROM pg_class JOIN pg_am ON pg_am.oid = relam"
            f" WHERE amname = 'btree' AND {ours}"
        ).fetchone()
    assert corrupt is not None
    assert indexes is not None
    assert indexes[0] > 0
    return "amcheck " + ("ok" if corrupt[0] == 0 else f"{corrupt[0]} corrupt")


def children(running_app: RunningApp) -> set[int]:
    """The processes of web and worker."""
    parents = [process.pid for process in running_app.processes]
    return set(parents) | {
        int(child) for parent in parents for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    }


def post_delivery(running_app: RunningApp) -> int:
    answer = requests.post(f"{running_app.url}webhooks/snapinspect/{NEW}/", json=payload(), timeout=60)
    return answer.status_code


def ready(running_app: RunningApp) -> int:
    return requests.get(f"{running_app.url}health/ready", timeout=60).status_code


def test_O4_a_full_disk_is_told_costs_no_exchange_and_is_over_when_it_has_room(tmp_path: Path) -> None:
    with deployment(tmp_path) as (running_app, disk):
        visitor = running_app.visitor().sign_up().connect()
        assert [post_delivery(running_app) for _ in range(DELIVERIES)] == [200] * DELIVERIES
        assert ready(running_app) == 200
        processes, acknowledged = children(running_app), DELIVERIES
        connection = int(running_app.manage("shell", "--verbosity", "0", "-c", STATE).split()[-1])

        with ForkServer(running_app) as fork_server:
            disk.fill()
            refuse(running_app.sandbox)
            running_app.sandbox.control("DELETE", "log")
            # What room the database has within its own files is used up first, and what is stored then counts.
            statuses = [200]
            while 200 in statuses:
                statuses = [post_delivery(running_app) for _ in range(DELIVERIES)]
                acknowledged += statuses.count(200)
            wait_until(lambda: ready(running_app) == 503)
            alive = requests.get(f"{running_app.url}health/live", timeout=60).status_code
            (call,) = fork_server.run(job("call", connection=connection))
            exchanged = running_app.sandbox.exchanges()
            disk.free()

            wait_until(lambda: ready(running_app) == 200)
            assert [post_delivery(running_app) for _ in range(DELIVERIES)] == [200] * DELIVERIES
            (again,) = fork_server.run(job("call", connection=connection))
        visitor.wait_for("Connected")

        def counts() -> list[str]:
            return running_app.manage("shell", "--verbosity", "0", "-c", STATE).split()[:2]

        wait_until(lambda: counts()[1] == "0", seconds=120)
        checked, same = integrity(running_app), children(running_app) == processes
        stored = int(counts()[0])

    record(
        "O4",
        "the database's disk is full, then freed",
        f"at the door {statuses.count(503)} of {DELIVERIES} are 503, not ready, {exchanged} exchanges sent; afterwards"
        f" ready without a restart, {stored} of {acknowledged + DELIVERIES} acknowledged are stored, {checked}",
    )
    assert statuses == [503] * DELIVERIES
    assert alive == 200
    assert exchanged == 0, call
    assert again.found == {"answered 200": 1}
    assert stored == acknowledged + DELIVERIES
    assert same, "a process was replaced"
    assert checked in {"integrity_check ok", "amcheck ok"}

"""Deliveries that come at the same time are stored by one statement, and only what is stored is acknowledged."""

import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import pytest
from django.db import IntegrityError, OperationalError
from django.db import connection as database

from integrations.events.group_commit import GroupCommit
from integrations.models import Delivery
from tests.support.deliveries import post
from tests.support.wait import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def embedded() -> None:
    if database.vendor != "sqlite":
        pytest.skip("PostgreSQL has many writers.")


class Table:
    """Takes what is inserted; the first time not before `opened`."""

    def __init__(self, *refused: str, problem: type[Exception] = IntegrityError) -> None:
        self.opened = threading.Event()
        self.inserts: list[list[str]] = []
        self._refused, self._problem = set(refused), problem

    def insert(self, rows: Sequence[str]) -> None:
        self.inserts.append(sorted(rows))
        assert self.opened.wait(30)
        if self._refused & set(rows):
            raise self._problem


def add(table: Table, *later: str) -> dict[str, Future[None]]:
    """Adds "first", which waits for the table, and the others meanwhile. What became of each."""
    rows: GroupCommit[str] = GroupCommit(table.insert)

    def added(row: str) -> None:
        with closing(database):
            rows.add(row)

    with ThreadPoolExecutor() as pool:
        jobs = {"first": pool.submit(added, "first")}
        wait_until(lambda: table.inserts == [["first"]])
        jobs |= {row: pool.submit(added, row) for row in later}
        wait_until(lambda: len(rows._waiting) == len(later))
        table.opened.set()
    return jobs


def test_rows_that_wait_for_a_commit_share_the_next_one() -> None:
    table = Table()
    jobs = add(table, "a", "b", "c")
    assert [job.result() for job in jobs.values()] == [None] * 4
    assert table.inserts == [["first"], ["a", "b", "c"]]


def test_a_row_that_the_database_refuses_is_refused_alone() -> None:
    jobs = add(Table("b"), "a", "b", "c")
    assert {row for row, job in jobs.items() if job.exception()} == {"b"}
    assert isinstance(jobs["b"].exception(), IntegrityError)


@pytest.mark.parametrize("problem", [OperationalError, RuntimeError])
def test_nothing_is_acknowledged_when_their_insert_fails(problem: type[Exception]) -> None:
    table = Table("a", problem=problem)
    jobs = add(table, "a", "b")
    assert {row for row, job in jobs.items() if isinstance(job.exception(), problem)} == {"a", "b"}
    assert table.inserts == [["first"], ["a", "b"]], "not once more: each may have taken 20 seconds"


def test_a_delivery_waits_for_another_process_that_writes() -> None:
    post({"sType": "Before"})
    with closing(sqlite3.connect(database.settings_dict["NAME"], timeout=0, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor() as pool:

            def posted() -> int:
                with closing(database):
                    return post({"sType": "Meanwhile"}).status_code

            job = pool.submit(posted)
            threading.Event().wait(0.1)
            assert not job.done()
            another.execute("ROLLBACK")
            assert job.result() == 200
    assert Delivery.objects.count() == 2


def test_it_waits_no_longer_than_others_and_pauses_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = database.settings_dict["OPTIONS"]["timeout"]
    monkeypatch.setitem(database.settings_dict["OPTIONS"], "timeout", 0.1)
    begun = time.monotonic()
    with closing(sqlite3.connect(database.settings_dict["NAME"], timeout=0, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        assert post({"sType": "Never"}).status_code == 503
        another.execute("ROLLBACK")
    assert 0.1 <= time.monotonic() - begun < 10
    monkeypatch.undo()
    assert post({"sType": "Then"}).status_code == 200
    with database.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == (usual * 1000,)

"""Row 44 of the check-list: SQLite as it is asked for, read back from a connection, not from the settings."""

import sqlite3
from contextlib import closing

import pytest
from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import Customer
from connectapp.sqlite3 import OPTIONS
from integrations import checks
from integrations.models import Connection, Event
from integrations.views import figures

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def embedded() -> None:
    if database.vendor != "sqlite":
        pytest.skip("PostgreSQL has its own ways of all these.")


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),  # readers and the writer do not wait for each other
        ("synchronous", 2),  # FULL: a commit survives a power cut
        ("secure_delete", 1),  # an erased token is overwritten in the file
        ("busy_timeout", 20_000),  # milliseconds that a writer waits for its turn
        ("foreign_keys", 1),
    ],
)
def test_a_connection_has_the_modes_that_the_documents_name(pragma: str, value: object) -> None:
    # As shipped: the suite's own connection does without what only matters when the power goes.
    shipped = database.copy()
    shipped.settings_dict = {**database.settings_dict, "OPTIONS": OPTIONS}
    with closing(shipped), shipped.cursor() as cursor:
        cursor.execute(f"PRAGMA {pragma}")
        assert cursor.fetchone() == (value,)


def test_a_transaction_takes_its_turn_at_its_start_and_not_half_way(acme: Customer) -> None:
    """Otherwise two that have read would both want to write, and one of them would fail without waiting."""
    with closing(sqlite3.connect(database.settings_dict["NAME"], timeout=0, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        another.execute("ROLLBACK")
        with transaction.atomic():
            with pytest.raises(sqlite3.OperationalError, match="database is locked"):
                another.execute("BEGIN IMMEDIATE")
            assert another.execute("SELECT name FROM accounts_customer").fetchall() == [("Acme Property",)]


def test_what_repeats_nothing_is_not_looked_for_by_that(acme: Customer) -> None:
    """Nearly every event repeats nothing: by an index of those, a page would read the events of all customers."""
    connections = [Connection.objects.create(customer=acme) for _ in range(8)]
    mine = Event.objects.shown().filter(connection__in=connections, received_at__gt=acme.created_at)
    with CaptureQueriesContext(database) as asked:
        figures.of(connections)
        list(mine.order_by("received_at", "pk")[:50])
    for query in asked.captured_queries:
        with database.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}".replace("%", "%%"))
            plan = [step for *_, step in cursor.fetchall() if "integrations_event" in step]
        assert plan
        assert all("event_by_" in step or "event_open" in step for step in plan), plan


def test_a_sqlite_that_is_too_old_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.sqlite_is_new_enough(None) == []
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    (told,) = checks.sqlite_is_new_enough(None)
    assert told.id == "integrations.E008"
    assert "3.38" in str(told.hint)

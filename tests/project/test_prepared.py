"""Statements that PostgreSQL plans once for each connection, and what a pooler in between means for them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from django.db import ProgrammingError, transaction
from django.db import connection as database

from accounts.prepared_statements import Prepared

pytestmark = pytest.mark.django_db
SQL = Prepared("SELECT %s::int + 1, 'x%%', %s::text")


@pytest.fixture(autouse=True)
def prepares(monkeypatch: pytest.MonkeyPatch) -> None:
    if database.vendor != "postgresql":
        pytest.skip("SQLite keeps what it has parsed.")
    from connectapp.postgresql import prepared  # noqa: PLC0415 (the driver is optional)

    monkeypatch.setattr(prepared, "_is_off", False)


@contextmanager
def new_connection(**settings: Any) -> Iterator[Any]:
    with closing(database.copy()) as another:
        another.settings_dict = database.settings_dict | settings
        yield another


def asked(connection: Any, *parameters: Any) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(SQL, parameters)
        row: tuple[Any, ...] = cursor.fetchone()
        return row


def prepared_on(connection: Any) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [statement for (statement,) in cursor.fetchall()]


def test_what_is_called_often_on_a_connection_is_prepared_there_and_answers_the_same() -> None:
    with new_connection() as connection:
        for number in range(2):
            assert asked(connection, number, "it's") == (number + 1, "x%", "it's")
        assert prepared_on(connection) == [], "a statement that is asked once or twice is not worth one more"
        for number in range(7):
            assert asked(connection, number, "%s") == (number + 1, "x%", "%s")
        (statement,) = prepared_on(connection)
        assert "SELECT $1::int + 1, 'x%', $2::text" in statement
        connection.close()
        assert asked(connection, 5, "") == (6, "x%", ""), "a new connection begins anew"


def test_what_could_not_be_prepared_in_a_broken_transaction_is_prepared_later() -> None:
    with new_connection() as connection:
        asked(connection, 1, "")
        asked(connection, 1, "")
        connection.connection.autocommit = False
        with pytest.raises(ProgrammingError), connection.cursor() as cursor:
            cursor.execute("SELECT nothing")
        with pytest.raises(Exception, match="transaction is aborted"):
            asked(connection, 1, "")
        connection.connection.rollback()
        connection.connection.autocommit = True
        assert asked(connection, 1, "") == (2, "x%", "")
        assert len(prepared_on(connection)) == 1


def test_nothing_is_prepared_behind_a_pooler_that_the_settings_name() -> None:
    with new_connection(DISABLE_SERVER_SIDE_CURSORS=True) as connection:
        for _ in range(5):
            assert asked(connection, 1, "") == (2, "x%", "")
        assert prepared_on(connection) == []


@pytest.mark.parametrize(
    "change",
    ["DEALLOCATE ALL", "DEALLOCATE ALL; PREPARE {name} AS SELECT 0"],
    ids=["another connection", "one where a process prepared it"],
)
def test_behind_a_pooler_that_no_setting_names_the_answer_is_the_same(change: str) -> None:
    """Which hands out another connection of the server each time: the name is unknown there, or taken."""
    from connectapp.postgresql.prepared import _statements  # noqa: PLC0415

    name = _statements(SQL)[1].split()[1]
    with new_connection() as connection:
        calls = 2 if "PREPARE" in change else 5
        for _ in range(calls):
            asked(connection, 1, "")
        with connection.cursor() as cursor:
            cursor.execute(change.format(name=name))
        before = prepared_on(connection)
        assert asked(connection, 1, "") == (2, "x%", "")
        assert asked(connection, 2, "") == (3, "x%", ""), "and is not prepared any more"
        assert prepared_on(connection) == before


def test_a_column_that_a_migration_has_widened_is_read_all_the_same() -> None:
    """The version before goes on working on the new schema: PostgreSQL refuses a plan whose columns have changed."""
    with new_connection() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE widened (name varchar(10)); INSERT INTO widened VALUES ('x')")
        for number in range(6):
            if number == 4:
                cursor.execute("ALTER TABLE widened ALTER name TYPE varchar(20)")
            cursor.execute(Prepared("SELECT name FROM widened"))
            assert cursor.fetchone() == ("x",)


def test_a_transaction_that_a_pooler_moved_fails_once() -> None:
    with new_connection() as connection:
        for _ in range(3):
            asked(connection, 1, "")
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
        connection.connection.autocommit = False
        with pytest.raises(ProgrammingError):
            asked(connection, 1, "")
        connection.connection.rollback()
        assert asked(connection, 1, "") == (2, "x%", "")


def test_it_is_prepared_within_a_transaction_like_anywhere() -> None:
    with transaction.atomic():
        for number in range(5):
            assert asked(database, number, "") == (number + 1, "x%", "")

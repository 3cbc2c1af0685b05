"""Rows of requests that come at the same time, inserted by one statement: one turn as SQLite's writer, one fsync.

SQLite has one writer at a time, and whoever finds it busy sleeps, up to 0.1 s between two looks. So rows of one process
wait for each other here, and the first of them looks for all, every millisecond, and more often at first.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import IntegrityError, OperationalError
from django.db import connection as database

# Seconds. The pause grows, because each try binds all bodies again.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.0003, 0.001

Row = TypeVar("Row")


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Row]):
    row: Row
    committed: bool = False
    problem: Exception | None = None


class GroupCommit(Generic[Row]):
    """insert: writes these rows in one statement, outside a transaction."""

    def __init__(self, insert: Callable[[Sequence[Row]], None]) -> None:
        self._insert = insert
        self._waiting: list[_Waiting[Row]] = []
        self._lock = threading.Lock()
        self._writer = threading.Lock()

    def add(self, row: Row) -> None:
        """Returns when the row is committed. Raises what the database says; the row is not stored then."""
        own = _Waiting(row)
        with self._lock:
            self._waiting.append(own)
        with self._writer:
            if not own.committed and own.problem is None:
                with self._lock:
                    together, self._waiting = self._waiting, []
                self._commit(together)
        if not own.committed:
            raise own.problem or OperationalError("The row was not stored.")

    def _commit(self, some: list[_Waiting[Row]]) -> None:
        """Tells each whether it is committed. A row that the database refuses is refused alone."""
        try:
            _without_pauses(lambda: self._insert([one.row for one in some]))
        except IntegrityError as problem:
            if len(some) == 1:
                some[0].problem = problem
                return
            for one in some:
                self._commit([one])
        except Exception as problem:
            for one in some:
                one.problem = problem
        else:
            for one in some:
                one.committed = True


def _without_pauses(write: Callable[[], None]) -> None:
    """Calls it until no other process is writing. Raises OperationalError after the time that SQLite would wait."""
    seconds = float(database.settings_dict["OPTIONS"]["timeout"])
    give_up_at = time.monotonic() + seconds
    database.close_if_health_check_failed()
    database.ensure_connection()
    _set_busy_timeout(0)
    pause = SHORTEST_PAUSE
    try:
        while True:
            try:
                return write()
            except OperationalError as problem:
                if not _is_busy(problem) or time.monotonic() > give_up_at:
                    raise
            time.sleep(pause)
            pause = min(pause * 1.1, LONGEST_PAUSE)
    finally:
        _set_busy_timeout(seconds)


def _set_busy_timeout(seconds: float) -> None:
    # Past Django, which would count and log it as a query.
    if database.connection is not None:
        with database.wrap_database_errors:
            database.connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")


def _is_busy(problem: OperationalError) -> bool:
    code: int = getattr(problem.__cause__, "sqlite_errorcode", 0)
    # The lower byte is the primary code: https://www.sqlite.org/rescode.html#extrc
    return code & 0xFF == sqlite3.SQLITE_BUSY

"""Which due work is next, for all threads of a process: the kinds of work take turns.

The rows are read in slices, and again after REREAD_AFTER: however many of one kind are due, one of another kind waits
for a few rows, not for all of them.
"""

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import InterfaceError, OperationalError, connection
from django.db.models import QuerySet
from django.utils.crypto import get_random_string
from structlog.contextvars import bound_contextvars

logger = logging.getLogger(__name__)

SLICE = 50
# Seconds.
POLL_SECONDS = 0.5  # between two looks when nothing was due
REREAD_AFTER = 1.0  # what was read is not used any longer
AGAIN_AFTER = 1.0  # a row that is still due after its turn is left to other processes for so long
FAILED_AGAIN_AFTER = 5.0  # the same when its work raised an error


@dataclass(frozen=True, eq=False)
class Job:
    """A kind of work.

    rows: what is due, the most urgent first. work: does one of these rows, by its id; it claims the row by a
    conditional UPDATE, since other processes may have read it too. whole: `work` finds its rows itself and gets 0; one
    thread of a process at a time does it. at_once: what is still due after its turn may have the next one. varies:
    `rows` is another query each time, not the same one for as long as the process lives.
    """

    rows: Callable[[], "QuerySet[Any]"]
    work: Callable[[int], object]
    whole: bool = False
    at_once: bool = False
    varies: bool = False


Turn = tuple[Job, int]


class Agenda:
    """Hands out what is due, one row at a time and each kind in its turn. Safe to share between threads.

    order: the kinds, round and round; one that is named several times has several turns. again_after: see AGAIN_AFTER.
    """

    def __init__(self, order: Sequence[Job], *, again_after: float = AGAIN_AFTER) -> None:
        self._turns = itertools.cycle(order)
        self._order_length = len(order)
        self._due: dict[Job, deque[int]] = {job: deque() for job in order}
        self._jobs = tuple(self._due)
        self._again_after = again_after
        self._changed = threading.Condition()
        self._in_progress: set[Turn] = set()
        self._not_before: dict[Turn, float] = {}
        self._read_at = float("-inf")
        self._nothing_due = False

    def take(self) -> Turn | None:
        """The next row to work on, None when nothing is due. The caller has to pass it to `work`."""
        with self._changed:
            now = time.monotonic()
            if now > self._read_at + REREAD_AFTER or not any(self._due.values()):
                if self._nothing_due and now < self._read_at + POLL_SECONDS:
                    return None
                self._read(now)
            for job in itertools.islice(self._turns, self._order_length):
                if self._due[job]:
                    turn = job, self._due[job].popleft()
                    self._in_progress.add(turn)
                    return turn
            self._nothing_due = True
            return None

    def work(self, turn: Turn) -> None:
        """Does it. Logs what it raises, but lets through that the database is gone: every other row would fail, too."""
        job, pk = turn
        failed = True
        try:
            with bound_contextvars(request_id=get_random_string(16)):
                failed = not isolated(job.work, pk)
        finally:
            with self._changed:
                self._in_progress.discard(turn)
                self._nothing_due = False
                if failed or not job.at_once:
                    again_after = max(self._again_after, FAILED_AGAIN_AFTER if failed else 0)
                    self._not_before[turn] = time.monotonic() + again_after

    def wait(self, seconds: float) -> None:
        """Returns when something was found, or after so many seconds."""
        with self._changed:
            self._changed.wait(seconds)

    def _read(self, now: float) -> None:
        self._not_before = {turn: moment for turn, moment in self._not_before.items() if moment > now}
        skipped = self._in_progress | self._not_before.keys()
        most = {job: SLICE + sum(skipped_job is job for skipped_job, _ in skipped) for job in self._jobs}
        for job, rows in _read(most).items():
            self._due[job] = deque([pk for pk in rows if (job, pk) not in skipped][:SLICE])
        # After reading: if the database is gone, the next thread tries.
        self._read_at, self._nothing_due = time.monotonic(), False
        if sum(map(len, self._due.values())) > 1:
            self._changed.notify_all()


def _read(most: Mapping[Job, int]) -> dict[Job, list[int]]:
    """The ids of what is due for each job, at most so many."""
    found: dict[Job, list[int]] = {job: [] for job in most}
    queries = due_queries(tuple(job for job in most if not job.varies))
    for job in most:
        if job.varies:
            rows = job.rows()
            found[job] = [0] * rows.exists() if job.whole else list(rows.values_list("pk", flat=True)[: most[job]])
    if not queries:
        return found
    jobs, statements, parameters = zip(*queries, strict=True)
    limited = [(*values, 1 if job.whole else most[job]) for job, values in zip(jobs, parameters, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(statements), list(itertools.chain(*limited)))
        for number, pk in cursor.fetchall():
            found[jobs[number]].append(0 if jobs[number].whole else pk)
    return found


@cache
def due_queries(jobs: tuple[Job, ...]) -> list[tuple[Job, str, tuple[Any, ...]]]:
    """The SELECT of each job's number and rows, for one statement together; its parameters, with a limit at their end.

    Written once in a process: that takes Django ten times as long as the database needs to answer.
    """
    written: list[tuple[Job, str, tuple[Any, ...]]] = []
    for job in jobs:
        rows = job.rows().order_by() if job.whole else job.rows()
        # No row can be due where a setting says so.
        with suppress(EmptyResultSet):
            sql, values = rows.values_list("pk").query.sql_with_params()
            number = len(written)
            select = f"SELECT {number}, pk FROM ({sql} LIMIT %s) AS due_{number}"  # noqa: S608  (values are parameters)
            written.append((job, select, values))
    return written


def isolated(work: Callable[[int], object], pk: int) -> bool:
    """Whether the work on this row went well; logs an error. Raises what says that the database is gone."""
    try:
        work(pk)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("Work on row %s failed; it stays due.", pk)
        return False
    return True

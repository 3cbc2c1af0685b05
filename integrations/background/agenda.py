"""Which due work is next, for all threads of a process: the kinds of work take turns.

The rows are read in slices, and again after REREAD_AFTER: however many of one kind are due, one of another kind waits
for a few rows, not for all of them.
"""

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from django.db import InterfaceError, OperationalError
from django.utils.crypto import get_random_string
from structlog.contextvars import bound_contextvars

from integrations.background import due_rows
from integrations.background.due_rows import Job

logger = logging.getLogger(__name__)

SLICE = 50
# Seconds.
POLL_SECONDS = 0.5  # between two looks when nothing was due
REREAD_AFTER = 1.0  # what was read is not used any longer
AGAIN_AFTER = 1.0  # a row that is still due after its turn is left to other processes for so long
FAILED_AGAIN_AFTER = 5.0  # the same when its work raised an error


Turn = tuple[Job, int]


class Agenda:
    """Hands out what is due, one row at a time and each kind in its turn. Safe to share between threads.

    order: the kinds, round and round; one that is named several times has several turns. once: each row has one
    turn, except those of kinds that may have the next one at once.
    """

    def __init__(self, order: Sequence[Job], *, once: bool = False) -> None:
        self._turns = itertools.cycle(order)
        self._order_length = len(order)
        self._due: dict[Job, deque[int]] = {job: deque() for job in order}
        self._jobs = tuple(self._due)
        self._once = once
        self._changed = threading.Condition()
        self._in_progress: set[Turn] = set()
        self._not_before: dict[Turn, float] = {}
        self._read_at = float("-inf")
        self._nothing_due = False
        self._look_at = float("-inf")  # when nothing was due

    def take(self) -> Turn | None:
        """The next row to work on, None when nothing is due. The caller has to pass it to `work`."""
        with self._changed:
            now = time.monotonic()
            if now > self._read_at + REREAD_AFTER or not any(self._due.values()):
                if self._nothing_due and now < self._look_at:
                    return None
                self._read(now)
            for job in itertools.islice(self._turns, self._order_length):
                if self._due[job]:
                    turn = job, self._due[job].popleft()
                    self._in_progress.add(turn)
                    return turn
            self._nothing_due = True
            pauses = [moment for (job, _), moment in self._not_before.items() if job.pause]
            self._look_at = min([self._read_at + POLL_SECONDS, *pauses])
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
                self._not_before[turn] = time.monotonic() + self._again_after(job, failed=failed)

    def wait(self) -> None:
        """Returns when something was found, or when it is time to look again: after POLL_SECONDS, or a job's pause."""
        with self._changed:
            self._changed.wait(max(0.0, self._look_at - time.monotonic()))

    def _again_after(self, job: Job, *, failed: bool) -> float:
        """Seconds."""
        if job.at_once and not failed:
            return 0.0 if self._once else job.pause
        return float("inf") if self._once else FAILED_AGAIN_AFTER if failed else AGAIN_AFTER

    def _read(self, now: float) -> None:
        self._not_before = {turn: moment for turn, moment in self._not_before.items() if moment > now}
        skipped = self._in_progress | self._not_before.keys()
        most = {job: SLICE + sum(skipped_job is job for skipped_job, _ in skipped) for job in self._jobs}
        for job, rows in due_rows.read(most).items():
            self._due[job] = deque([pk for pk in rows if (job, pk) not in skipped][:SLICE])
        # After reading: if the database is gone, the next thread tries.
        self._read_at, self._nothing_due = time.monotonic(), False
        if sum(map(len, self._due.values())) > 1:
            self._changed.notify_all()


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

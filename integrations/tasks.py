"""Work behind the door. Rows are the truth, a task is only a nudge: losing every one of them costs seconds."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import get_random_string
from django_tasks import task
from django_tasks_db.models import DBTaskResult
from structlog.contextvars import bound_contextvars, get_contextvars

from integrations import (
    digest,
    finishing,
    health,
    inbox,
    introductions,
    lanes,
    notices,
    parting,
    placing,
    recovery,
    renewal,
    replays,
    tokens,
)
from integrations.models import Connection, Delivery, ExplorerAnswer, Introduction, PanelAnswer, TokenPair, Worker

logger = logging.getLogger(__name__)

# One drain works this long, then hands over to the next: short enough that a row still RUNNING much later is dead.
DRAIN_SECONDS = 30.0
DEAD_AFTER = timedelta(minutes=3)
FINISHED_KEPT = timedelta(hours=1)
BATCH = 50
PLACED_AT_ONCE = 4000


def _go_on_with_replay(pk: int) -> None:
    if replays.step(pk):
        # After what else is due: what was replayed is worked on first, and so is everybody else's.
        nudge()


# What may be due, oldest first, and who does it, one row at a time. Each claims its row itself: two workers that look
# at the same moment do not both do it.
JOBS: list[tuple[Callable[[], "QuerySet[Any]"], Callable[[int], None]]] = [
    # First what does not wait for SnapInspect: a vendor that hangs must not keep it waiting.
    (lambda: TokenPair.objects.left_behind().order_by("pk"), parting.erase),
    (lambda: Connection.objects.with_notice_due().order_by("next_notice_at"), notices.send),
    # Somebody looks at a page that waits; and a pair that is handed to its connection here is proven right below.
    (lambda: Introduction.objects.due().order_by("next_try_at"), introductions.hear),
    (lambda: TokenPair.objects.interrupted().order_by("next_try_at"), renewal.resume),
    (lambda: finishing.unanswered().order_by("received_at"), finishing.let_lapse),
    (lambda: TokenPair.objects.due().order_by("next_try_at"), finishing.finish),
    (lambda: Connection.objects.due_for_check().order_by("next_check_at"), health.routine_check),
    (recovery.due, recovery.close_gap),
    (replays.running, _go_on_with_replay),
    (digest.due, digest.send),
]
# A web process that has woken a worker does not do so again for this long (seconds): a drain that finds work looks once
# more after LINGER, which is longer.
NUDGES_APART = 0.1
LINGER = 0.3
_nudged_at = 0.0


@task()
def drain(woken_by: str = "") -> None:
    """Does the work that is due now, row by row; a row that fails does not hold up the next.

    `woken_by`: the number of the request that asked for it, for the lines of log. The work itself is in the rows.
    """
    with bound_contextvars(request_id=woken_by or get_random_string(16)):
        _drain()


def _drain() -> None:
    stop_at = time.monotonic() + DRAIN_SECONDS
    for rows, work in JOBS:
        for pk in list(rows().values_list("pk", flat=True)[:BATCH]):
            if time.monotonic() > stop_at:
                return nudge()
            _isolated(work, pk)
    while work_through_inbox(stop_at):
        if time.monotonic() > stop_at:
            return nudge()
        time.sleep(LINGER)
    return None


def work_through_inbox(stop_at: float) -> int:
    """Places what was delivered and serves the lanes, until nothing is due; returns how much there was."""
    done = 0
    while time.monotonic() < stop_at:
        # Many at a time, so that a lane's turn is worth its queries.
        placed = _place(stop_at)
        due_lanes = list(lanes.due().values_list("pk", flat=True)[:BATCH])
        for pk in due_lanes:
            if time.monotonic() > stop_at:
                break
            _isolated(lanes.serve, pk)
        if not placed and not due_lanes:
            break
        done += placed + len(due_lanes)
    return done


def _place(stop_at: float) -> int:
    placed = 0
    while placed < PLACED_AT_ONCE and time.monotonic() < stop_at and (batch := placing.place()):
        placed += batch
    return placed


def nudge_soon() -> None:
    """Like `nudge`, for a door that is knocked on all the time: one wake-up serves all that come shortly after it.

    What it leaves out is seen by the drain that it has woken before, which looks again after LINGER.
    """
    global _nudged_at  # noqa: PLW0603  (per process; two threads that meet here wake a worker twice, no harm done)
    now = time.monotonic()
    if now - _nudged_at > NUDGES_APART:
        _nudged_at = now
        nudge()


def nudge() -> None:
    """Asks a worker to look for work once this transaction is committed."""

    def wake() -> None:
        try:
            # One that waits will see what has just been committed; a second one would find nothing left.
            if not _a_drain_waits():
                drain.enqueue(woken_by=get_contextvars().get("request_id", ""))
        except Exception:
            logger.exception("No worker could be woken; the sweep will find the work.")

    transaction.on_commit(wake)


def due() -> int:
    """How many rows could be worked on now."""
    waiting = sum(rows().count() for rows, _ in JOBS)
    return waiting + Delivery.objects.received().count() + lanes.due().count()


def sweep(*, by: str = "") -> int:
    """Wakes a worker if anything is due, and clears away task rows of workers that were killed.

    by: host and process, noted for the operations page. Idempotent; may run anywhere, any number of times. Returns how
    many rows are due.
    """
    tokens.take_home()
    inbox.take_up_parked()
    inbox.throw_out_parked()
    inbox.call_lanes()
    recovery.note_silence()
    _forget_answers()
    introductions.tidy()
    waiting = due()
    if waiting:
        nudge()
    now = timezone.now()
    # django-tasks-db never takes these up again: their work stands in our own rows.
    DBTaskResult.objects.running().filter(started_at__lt=now - DEAD_AFTER).delete()
    DBTaskResult.objects.finished().filter(finished_at__lt=now - FINISHED_KEPT).delete()
    if by:
        Worker.objects.note_sweep(by)
    return waiting


def _forget_answers() -> None:
    """Deletes what people were shown of customers' data when its time is over."""
    for outdated in (PanelAnswer.objects.outdated(), ExplorerAnswer.objects.outdated()):
        # Every few seconds, and hardly ever is there anything: a look is cheaper than a lock.
        if outdated.exists():
            outdated.delete()


def _a_drain_waits() -> bool:
    if settings.TASKS_ENGINE != "db":
        return False  # the other engine knows by itself
    return bool(DBTaskResult.objects.ready().filter(task_path=drain.module_path).exists())


def _isolated(work: Callable[[int], None], pk: int) -> None:
    try:
        work(pk)
    except (OperationalError, InterfaceError):
        raise  # the database is gone: every other row would fail alike
    except Exception:
        logger.exception("Work on row %s failed; it stays due.", pk)

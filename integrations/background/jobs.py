"""Work behind the door. Rows are the truth, a task is only a nudge: losing every one of them costs seconds.

A worker has few threads, and one that waits for SnapInspect does nothing else: nobody's trouble may take all of them.
Jobs and the inbox have their turns, whatever there is of either. Who was not answered last time is on trial: one at a
time in each process (`limits.trial`), while the other threads pass by.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.crypto import get_random_string
from django_tasks import task
from django_tasks_db.models import DBTaskResult
from structlog.contextvars import bound_contextvars, get_contextvars

from integrations.calls import health_check, limits
from integrations.connecting import completion, disconnection, sign_in
from integrations.events import parked, queue, recovery, replays, routing
from integrations.models import Connection, Delivery, ExplorerAnswer, GuestTokenPair, PanelAnswer, TokenPair, Worker
from integrations.notifications import digest, incidents
from integrations.tokens import custody, renewal

logger = logging.getLogger(__name__)

# One drain works this long, then hands over to the next: short enough that a row still RUNNING much later is dead.
DRAIN_SECONDS = 30.0
DEAD_AFTER = timedelta(minutes=3)
FINISHED_KEPT = timedelta(hours=1)
BATCH = 50
PLACED_AT_ONCE = 4000
# The inbox has its turn after this long, and whoever serves lanes looks anew whose turn it is.
JOBS_SECONDS = 5.0
INBOX_SECONDS = 5.0
LOOK_AGAIN = 1.0


def _go_on_with_replay(pk: int) -> None:
    if replays.step(pk):
        # After what else is due: what was replayed is worked on first, and so is everybody else's.
        nudge()


@dataclass(frozen=True)
class Job:
    """`rows`: what may be due, oldest first. `work`: does one of them. `on_trial`: those not answered last time.

    Each claims its row itself: two workers that look at the same moment do not both do it.
    """

    rows: Callable[[], "QuerySet[Any]"]
    work: Callable[[int], None]
    on_trial: Q | None = None


JOBS = [
    # First what does not wait for SnapInspect: a vendor that hangs must not keep it waiting.
    Job(lambda: TokenPair.objects.due_for_erasure().order_by("pk"), disconnection.erase_overdue),
    Job(lambda: Connection.objects.with_notice_due().order_by("next_notice_at"), incidents.send),
    Job(digest.due, digest.send),
    Job(lambda: completion.expired_questions().order_by("received_at"), completion.erase_unanswered),
    Job(replays.running, _go_on_with_replay),
    # Somebody looks at a page that waits; and a pair that is handed to its connection here is proven right below.
    Job(lambda: GuestTokenPair.objects.due().order_by("next_try_at"), sign_in.process),
    Job(lambda: TokenPair.objects.interrupted().order_by("next_try_at"), renewal.resume, Q(tries__gt=0)),
    Job(lambda: TokenPair.objects.due().order_by("next_try_at"), completion.finish, Q(tries__gt=0)),
    Job(
        lambda: Connection.objects.due_for_check().order_by("next_check_at"),
        health_check.routine_check,
        Q(failed_checks__gt=0),
    ),
    Job(recovery.due, recovery.close_gap, Q(pauses__gt=0)),
]
# A web process that has woken a worker does not do so again for this long (seconds): a drain that finds work looks once
# more after LINGER, which is longer.
NUDGES_APART = 0.1
LINGER = 0.3
_nudged_at = 0.0
# Set when this process is told to end: what is under way is finished, and the rest is left to other workers.
told_to_stop = threading.Event()


@task()
def drain(woken_by: str = "") -> None:
    """Does the work that is due now, row by row; a row that fails does not hold up the next.

    `woken_by`: the number of the request that asked for it, for the lines of log. The work itself is in the rows.
    """
    with bound_contextvars(request_id=woken_by or get_random_string(16)):
        _drain()


def _drain() -> None:
    stop_at = time.monotonic() + DRAIN_SECONDS
    seen: set[tuple[Job, int]] = set()
    while True:
        more = _do_jobs(seen, time.monotonic() + JOBS_SECONDS)
        inbox_until = time.monotonic() + INBOX_SECONDS
        worked = work_through_inbox(inbox_until)
        if _is_over(stop_at):
            return nudge()
        if not (more or worked):
            return None
        if not more and time.monotonic() < inbox_until:
            time.sleep(LINGER)


def _do_jobs(seen: set[tuple[Job, int]], stop_at: float) -> bool:
    """Does what is due beside the inbox, no row twice in one drain; whether there may be more to do.

    Who is on trial comes last, and one at a time: it may take long.
    """
    tried: list[tuple[Job, QuerySet[Any]]] = []
    before = len(seen)
    for job in JOBS:
        rows = job.rows()
        if job.on_trial is not None:
            tried.append((job, rows.filter(job.on_trial)))
            rows = rows.exclude(job.on_trial)
        for pk in list(rows.values_list("pk", flat=True)[:BATCH]):
            if (job, pk) not in seen:
                if told_to_stop.is_set() or (time.monotonic() > stop_at and len(seen) > before):
                    return True
                seen.add((job, pk))
                _isolated(job.work, pk)
    for job, rows in random.sample(tried, len(tried)):
        for pk in list(rows.values_list("pk", flat=True)[:BATCH]):
            if (job, pk) not in seen:
                with limits.trial() as free:
                    if free:
                        seen.add((job, pk))
                        _isolated(job.work, pk)
                    return free
    return False


def _is_over(stop_at: float) -> bool:
    return told_to_stop.is_set() or time.monotonic() > stop_at


def work_through_inbox(stop_at: float) -> int:
    """Places what was delivered and serves the lanes, until nothing is due; returns how much there was."""
    done = 0
    while not _is_over(stop_at):
        # Many at a time, so that a lane's turn is worth its queries.
        worked = _place(stop_at) + _serve(stop_at) + _try_one()
        if not worked:
            break
        done += worked
    return done


def _serve(stop_at: float) -> int:
    due_lanes = list(queue.next_due().values_list("pk", flat=True)[:BATCH])
    if len(due_lanes) > 1:
        nudge()  # a thread that is free may help
    served = 0
    look_again_at = min(stop_at, time.monotonic() + LOOK_AGAIN)
    for pk in due_lanes:
        if served and _is_over(look_again_at):
            break
        _isolated(queue.serve, pk)
        served += 1
    return served


def _try_one() -> int:
    pk = queue.on_trial().values_list("pk", flat=True).first()
    if pk is None:
        return 0
    with limits.trial() as free:
        if free:
            _isolated(queue.serve, pk)
    return int(free)


def _place(stop_at: float) -> int:
    placed = 0
    while placed < PLACED_AT_ONCE and not _is_over(stop_at) and (batch := routing.place()):
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
    waiting = sum(job.rows().count() for job in JOBS)
    return waiting + Delivery.objects.received().count() + queue.due().count()


def sweep(*, by: str = "") -> int:
    """Wakes a worker if anything is due, and clears away task rows of workers that were killed.

    by: host and process, noted for the operations page. Idempotent; may run anywhere, any number of times. Returns how
    many rows are due.
    """
    custody.take_home()
    queue.end_interrupted()
    # In this order: what is taken up does not count, and some of it may be parked again.
    parked.throw_out_parked()
    parked.take_up_parked()
    parked.call_lanes()
    recovery.note_silence()
    _forget_answers()
    sign_in.delete_old_attempts()
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

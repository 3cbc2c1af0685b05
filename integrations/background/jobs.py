"""Finds and does the work that is due. The rows say what that is; a task only wakes a worker.

If every task is lost, work waits for the next sweep. A worker has few threads, and one that waits for SnapInspect does
nothing else, so nobody's outage may block all of them: jobs and the inbox get turns of a few seconds each, and work
that SnapInspect did not answer last time is on trial: one at a time in each process (`limits.trial`).
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
from integrations.models import (
    Connection,
    Delivery,
    ExplorerAnswer,
    GuestTokenPair,
    PanelAnswer,
    Replay,
    TokenPair,
    Worker,
)
from integrations.notifications import digest, incidents
from integrations.tokens import renewal, spool_recovery

logger = logging.getLogger(__name__)

# A drain works this long (seconds), then enqueues the next. Task rows that are RUNNING for much longer are dead.
DRAIN_SECONDS = 30.0
DEAD_AFTER = timedelta(minutes=3)
FINISHED_KEPT = timedelta(hours=1)
BATCH = 50
ROUTED_AT_ONCE = 4000
# Turns of jobs and of the inbox, and how long one list of due queues is used before it is read again.
JOBS_SECONDS = 5.0
INBOX_SECONDS = 5.0
REREAD_AFTER = 1.0


def _step_replay(pk: int) -> None:
    if replays.step(pk):
        # In another drain: what was replayed is processed first, like everybody else's events.
        wake_worker()


@dataclass(frozen=True)
class Job:
    """rows: what may be due, oldest first. work: does one of them. on_trial: those not answered last time.

    `work` claims its row: two workers that read the rows at the same moment do not both do it.
    """

    rows: Callable[[], "QuerySet[Any]"]
    work: Callable[[int], None]
    on_trial: Q | None = None


JOBS = [
    # First what does not call SnapInspect, so that an outage does not delay it.
    Job(lambda: TokenPair.objects.due_for_erasure().order_by("pk"), disconnection.erase_overdue),
    Job(lambda: Connection.objects.with_notice_due().order_by("next_notice_at"), incidents.send),
    Job(digest.due, digest.send),
    Job(lambda: completion.expired_questions().order_by("received_at"), completion.erase_unanswered),
    Job(lambda: Replay.objects.running().order_by("pk"), _step_replay),
    # Somebody waits for this page; and a pair that becomes a connection's candidate here is due right below.
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
# A web process wakes a worker at most this often (seconds). A drain that found work looks again after RECHECK_AFTER,
# which is longer.
WAKE_UPS_APART = 0.1
RECHECK_AFTER = 0.3
_woken_at = 0.0
# Set when this process has to end: it finishes the current rows and leaves the others to other workers.
stop_requested = threading.Event()


@task()
def drain(woken_by: str = "") -> None:
    """Does the work that is due now, row by row; a row that fails does not stop the others.

    woken_by: ID of the request that caused it, for the log.
    """
    with bound_contextvars(request_id=woken_by or get_random_string(16)):
        _drain()


def _drain() -> None:
    stop_at = time.monotonic() + DRAIN_SECONDS
    seen: set[tuple[Job, int]] = set()
    while True:
        more = _do_jobs(seen, time.monotonic() + JOBS_SECONDS)
        inbox_until = time.monotonic() + INBOX_SECONDS
        worked = process_inbox(inbox_until)
        if _is_over(stop_at):
            return wake_worker()
        if not (more or worked):
            return None
        if not more and time.monotonic() < inbox_until:
            time.sleep(RECHECK_AFTER)


def _do_jobs(seen: set[tuple[Job, int]], stop_at: float) -> bool:
    """Does due jobs, no row twice in one drain; whether there may be more to do.

    Rows on trial come last, and one at a time: they may take long.
    """
    on_trial: list[tuple[Job, QuerySet[Any]]] = []
    before = len(seen)
    for job in JOBS:
        rows = job.rows()
        if job.on_trial is not None:
            on_trial.append((job, rows.filter(job.on_trial)))
            rows = rows.exclude(job.on_trial)
        for pk in list(rows.values_list("pk", flat=True)[:BATCH]):
            if (job, pk) not in seen:
                if stop_requested.is_set() or (time.monotonic() > stop_at and len(seen) > before):
                    return True
                seen.add((job, pk))
                _isolated(job.work, pk)
    for job, rows in random.sample(on_trial, len(on_trial)):
        for pk in list(rows.values_list("pk", flat=True)[:BATCH]):
            if (job, pk) not in seen:
                with limits.trial() as free:
                    if free:
                        seen.add((job, pk))
                        _isolated(job.work, pk)
                    return free
    return False


def _is_over(stop_at: float) -> bool:
    return stop_requested.is_set() or time.monotonic() > stop_at


def process_inbox(stop_at: float) -> int:
    """Routes deliveries and processes queues, until nothing is due; returns how many of both.

    stop_at: by time.monotonic().
    """
    done = 0
    while not _is_over(stop_at):
        # Many deliveries first, so that processing a queue is worth its queries.
        worked = _route(stop_at) + _process_queues(stop_at) + _process_on_trial()
        if not worked:
            break
        done += worked
    return done


def _route(stop_at: float) -> int:
    routed = 0
    while routed < ROUTED_AT_ONCE and not _is_over(stop_at) and (batch := routing.route_batch()):
        routed += batch
    return routed


def _process_queues(stop_at: float) -> int:
    due_queues = list(queue.next_due().values_list("pk", flat=True)[:BATCH])
    if len(due_queues) > 1:
        wake_worker()  # a thread that is free may help
    processed = 0
    reread_at = min(stop_at, time.monotonic() + REREAD_AFTER)
    for pk in due_queues:
        if processed and _is_over(reread_at):
            break
        _isolated(queue.process, pk)
        processed += 1
    return processed


def _process_on_trial() -> int:
    pk = queue.on_trial().values_list("pk", flat=True).first()
    if pk is None:
        return 0
    with limits.trial() as free:
        if free:
            _isolated(queue.process, pk)
    return int(free)


def wake_worker_soon() -> None:
    """Like `wake_worker`, for frequent calls: does nothing within WAKE_UPS_APART of the last one.

    The drain that was woken then looks again after RECHECK_AFTER.
    """
    global _woken_at  # noqa: PLW0603  (per process; two threads at the same moment wake a worker twice)
    now = time.monotonic()
    if now - _woken_at > WAKE_UPS_APART:
        _woken_at = now
        wake_worker()


def wake_worker() -> None:
    """Has a worker look for work once this transaction is committed."""

    def wake() -> None:
        try:
            # A drain that waits will see what was just committed; a second one would find nothing.
            if not _drain_waits():
                drain.enqueue(woken_by=get_contextvars().get("request_id", ""))
        except Exception:
            logger.exception("No worker could be woken; the sweep will find the work.")

    transaction.on_commit(wake)


def due() -> int:
    """How many rows could be worked on now."""
    waiting = sum(job.rows().count() for job in JOBS)
    return waiting + Delivery.objects.received().count() + queue.due().count()


def sweep(*, by: str = "") -> int:
    """Makes due what was forgotten, deletes what is outdated, wakes a worker; returns how many rows are due.

    by: host and process, for the operations page. Idempotent; may run anywhere, any number of times.
    """
    spool_recovery.commit_spooled()
    queue.release_interrupted()
    # In this order: what was released is not parked any more, and would not count.
    parked.delete_surplus()
    parked.release_matched()
    queue.wake_due()
    recovery.note_worker_outage()
    _delete_outdated_answers()
    sign_in.delete_old_attempts()
    waiting = due()
    if waiting:
        wake_worker()
    now = timezone.now()
    # Left by killed workers. django-tasks-db never runs them again; their work is in our own rows.
    DBTaskResult.objects.running().filter(started_at__lt=now - DEAD_AFTER).delete()
    DBTaskResult.objects.finished().filter(finished_at__lt=now - FINISHED_KEPT).delete()
    if by:
        Worker.objects.note_sweep(by)
    return waiting


def _delete_outdated_answers() -> None:
    """Deletes answers of SnapInspect that were kept for pages, when they are outdated."""
    for outdated in (PanelAnswer.objects.outdated(), ExplorerAnswer.objects.outdated()):
        # There hardly ever are any: a SELECT is cheaper than the lock of a DELETE.
        if outdated.exists():
            outdated.delete()


def _drain_waits() -> bool:
    if settings.TASKS_ENGINE != "db":
        return False  # redis_queue checks that itself
    return bool(DBTaskResult.objects.ready().filter(task_path=drain.module_path).exists())


def _isolated(work: Callable[[int], None], pk: int) -> None:
    try:
        work(pk)
    except (OperationalError, InterfaceError):
        raise  # the database is gone: every other row would fail alike
    except Exception:
        logger.exception("Work on row %s failed; it stays due.", pk)

"""Work behind the door. Rows are the truth, a task is only a nudge: losing every one of them costs seconds."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_tasks import task
from django_tasks_db.models import DBTaskResult

from integrations import finishing, health, notices, parting, renewal, tokens
from integrations.models import Connection, TokenPair

logger = logging.getLogger(__name__)

# One drain works this long, then hands over to the next: short enough that a row still RUNNING much later is dead.
DRAIN_SECONDS = 30.0
DEAD_AFTER = timedelta(minutes=3)
FINISHED_KEPT = timedelta(hours=1)
BATCH = 50


# What may be due, oldest first, and who does it, one row at a time. Each claims its row itself: two workers that look
# at the same moment do not both do it.
JOBS: list[tuple[Callable[[], "QuerySet[Any]"], Callable[[int], None]]] = [
    (lambda: TokenPair.objects.interrupted().order_by("next_try_at"), renewal.resume),
    (lambda: TokenPair.objects.due().order_by("next_try_at"), finishing.finish),
    (lambda: TokenPair.objects.left_behind().order_by("pk"), parting.erase),
    (lambda: Connection.objects.due_for_check().order_by("next_check_at"), health.routine_check),
    (lambda: Connection.objects.with_notice_due().order_by("next_notice_at"), notices.send),
]


@task()
def drain() -> None:
    """Does the work that is due now, row by row; a row that fails does not hold up the next."""
    stop_at = time.monotonic() + DRAIN_SECONDS
    for rows, work in JOBS:
        for pk in list(rows().values_list("pk", flat=True)[:BATCH]):
            if time.monotonic() > stop_at:
                return nudge()
            _isolated(work, pk)
    return None


def nudge() -> None:
    """Asks a worker to look for work once this transaction is committed."""

    def wake() -> None:
        try:
            drain.enqueue()
        except Exception:
            logger.exception("No worker could be woken; the sweep will find the work.")

    transaction.on_commit(wake)


def due() -> int:
    """How many rows could be worked on now."""
    return sum(rows().count() for rows, _ in JOBS)


def sweep() -> int:
    """Wakes a worker if anything is due, and clears away task rows of workers that were killed.

    Idempotent; may run anywhere, any number of times. Returns how many rows are due.
    """
    tokens.take_home()
    waiting = due()
    if waiting:
        nudge()
    now = timezone.now()
    # django-tasks-db never takes these up again: their work stands in our own rows.
    DBTaskResult.objects.running().filter(started_at__lt=now - DEAD_AFTER).delete()
    DBTaskResult.objects.finished().filter(finished_at__lt=now - FINISHED_KEPT).delete()
    return waiting


def _isolated(work: Callable[[int], None], pk: int) -> None:
    try:
        work(pk)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("Work on row %s failed; it stays due.", pk)

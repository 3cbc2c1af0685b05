"""Work behind the door. Rows are the truth, a task is only a nudge: losing every one of them costs seconds."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import DatabaseError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django_tasks import task
from django_tasks_db.models import DBTaskResult

from integrations import finishing, health
from integrations.models import Connection, TokenPair

logger = logging.getLogger(__name__)

# One drain works this long, then hands over to the next: short enough that a row still RUNNING much later is dead.
DRAIN_SECONDS = 30.0
DEAD_AFTER = timedelta(minutes=3)
FINISHED_KEPT = timedelta(hours=1)
BATCH = 50
# While one worker asks about a connection, the others leave it alone.
CHECK_CLAIM = timedelta(seconds=50)


@task()
def drain() -> None:
    """Does all the work that is due now, row by row; a row that fails does not hold up the next."""
    stop_at = time.monotonic() + DRAIN_SECONDS
    for pk in list(TokenPair.objects.due().order_by("next_try_at").values_list("pk", flat=True)[:BATCH]):
        if time.monotonic() > stop_at:
            return nudge()
        _isolated(finishing.finish, pk)
    for pk in list(Connection.objects.due_for_check().order_by("next_check_at").values_list("pk", flat=True)[:BATCH]):
        if time.monotonic() > stop_at:
            return nudge()
        _isolated(check_connection, pk)
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
    return TokenPair.objects.due().count() + Connection.objects.due_for_check().count()


def sweep() -> int:
    """Wakes a worker if anything is due, and clears away task rows of workers that were killed.

    Idempotent; may run anywhere, any number of times. Returns how many rows are due.
    """
    waiting = due()
    if waiting:
        nudge()
    now = timezone.now()
    # django-tasks-db never takes these up again: their work stands in our own rows.
    DBTaskResult.objects.running().filter(started_at__lt=now - DEAD_AFTER).delete()
    DBTaskResult.objects.finished().filter(finished_at__lt=now - FINISHED_KEPT).delete()
    return waiting


def check_connection(pk: int) -> None:
    """Asks about one connection that is due, unless another worker is already doing so."""
    claimed = Connection.objects.due_for_check().filter(pk=pk).update(next_check_at=Now() + CHECK_CLAIM)
    if claimed == 1:
        health.check(Connection.objects.select_related("customer").get(pk=pk))


def _isolated(work: Callable[[int], None], pk: int) -> None:
    try:
        work(pk)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("Work on row %s failed; it stays due.", pk)

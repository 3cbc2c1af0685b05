"""What may be due and who does it. The rows say what is due: nothing else has to be told to a worker.

Workers look every half second (`agenda`), and once more as long as they find something.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

from integrations.background import due_rows
from integrations.background.agenda import Agenda, isolated
from integrations.background.due_rows import Job
from integrations.calls import health_check
from integrations.connecting import completion, disconnection, sign_in, unused_pairs
from integrations.events import parked, queue, recovery, replays, routing
from integrations.models import (
    Connection,
    Delivery,
    ExplorerAnswer,
    GuestTokenPair,
    PanelAnswer,
    Replay,
    Resend,
    TokenPair,
    Worker,
)
from integrations.notifications import digest, incidents, mail, switched_off
from integrations.outgoing import dispatcher, endpoints, resends
from integrations.tokens import renewal, spool_recovery

logger = logging.getLogger(__name__)

ROUTED_AT_ONCE = 4000
ROUTE_SECONDS = 0.1  # between two turns
MAILS_AT_ONCE = 20


def _mails(rows: Callable[[], "QuerySet[Any]"], send: Callable[[int], None]) -> Job:
    """Sends MAILS_AT_ONCE of these mails through one connection to the mail server."""

    def work(_: int) -> None:
        with mail.one_connection():
            for pk in rows().values_list("pk", flat=True)[:MAILS_AT_ONCE]:
                if stop_requested.is_set():
                    return
                isolated(send, pk)

    return Job(rows, work, whole=True, at_once=True)


def _route(_: int) -> None:
    """Makes events of what has been delivered. Many at once, so that processing a queue is worth its queries."""
    for _ in range(ROUTED_AT_ONCE // routing.BATCH):
        if stop_requested.is_set() or routing.route_batch() < routing.BATCH:
            return


# Set when this process has to end: it finishes the current rows and leaves the others to other workers.
stop_requested = threading.Event()

JOBS = [
    Job(lambda: TokenPair.objects.due_for_erasure().order_by("pk"), disconnection.erase_overdue),
    _mails(lambda: Connection.objects.with_notice_due().order_by("next_notice_at"), incidents.send),
    _mails(digest.due, digest.send),
    _mails(switched_off.due, switched_off.send),
    Job(lambda: completion.expired_questions().order_by("received_at"), completion.erase_unanswered),
    Job(lambda: Replay.objects.running().order_by("pk"), replays.step),
    Job(lambda: Resend.objects.running().order_by("pk"), resends.step),
    # Somebody waits for this page; and a pair that becomes a connection's candidate here is due right below.
    Job(lambda: GuestTokenPair.objects.due().order_by("next_try_at"), sign_in.process),
    Job(lambda: GuestTokenPair.objects.due_to_revoke().order_by("next_try_at"), unused_pairs.revoke),
    Job(lambda: TokenPair.objects.interrupted().order_by("next_try_at"), renewal.resume),
    Job(lambda: TokenPair.objects.due().order_by("next_try_at"), completion.finish),
    Job(lambda: Connection.objects.due_for_check().order_by("next_check_at"), health_check.routine_check),
    Job(recovery.due, recovery.close_gap),
    Job(dispatcher.off_with_waiting, dispatcher.hold),
    Job(endpoints.to_erase, endpoints.erase),
]
INBOX = [
    Job(lambda: Delivery.objects.received().order_by("pk"), _route, whole=True, at_once=True, pause=ROUTE_SECONDS),
    Job(queue.next_due, queue.process, at_once=True),
]
# The inbox has its turn between any two of the others.
ORDER = [job for other in JOBS for job in (other, *INBOX)]
# In a thread of its own, see `outgoing.dispatcher`: the others may be taken up for seconds.
OUTGOING = [Job(dispatcher.rows, dispatcher.turn, whole=True, at_once=True, varies=True)]


def work_off(order: list[Job] = ORDER) -> None:
    """Does in this thread what is due now, and what becomes due by that; no row of JOBS twice."""
    agenda = Agenda(order, once=True)
    while not stop_requested.is_set() and (turn := agenda.take()):
        agenda.work(turn)


def due() -> int:
    """How many rows could be worked on now."""
    return due_rows.count([*JOBS, *INBOX])


def sweep(*, by: str = "") -> None:
    """Makes due what was forgotten, and deletes what is outdated. Idempotent; may run anywhere, any number of times.

    by: host and process, for the operations page.
    """
    spool_recovery.commit_spooled()
    queue.release_interrupted()
    # In this order: what was released is not parked any more, and would not count.
    parked.delete_surplus()
    parked.release_matched()
    queue.wake_due()
    dispatcher.wake_forgotten()
    recovery.note_outage(recovery.WORKER)
    _delete_outdated_answers()
    sign_in.delete_old_attempts()
    if by:
        Worker.objects.note_sweep(by)


def _delete_outdated_answers() -> None:
    """Deletes answers of SnapInspect that were kept for pages, when they are outdated."""
    for outdated in (PanelAnswer.objects.outdated(), ExplorerAnswer.objects.outdated()):
        # There hardly ever are any: a SELECT is cheaper than the lock of a DELETE.
        if outdated.exists():
            outdated.delete()

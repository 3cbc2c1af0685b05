"""What waits for a company or a person: deliveries that nobody could be found for, and events to be done again.

Unmatched and quarantined deliveries are parked: at most MOST_PARKED in all, each for at most PARKED_FOR, the oldest go
first. An unmatched one is placed by itself when its company connects, or reconnects, or has room for it again.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations.models import Connection, Delivery, Event, EventQueue, HandlerRun, State

logger = logging.getLogger(__name__)

MOST_PARKED = 10_000
PARKED_FOR = timedelta(days=30)
BATCH = 1000


def company_connected(connection: Connection) -> None:
    """Has everything that waited for this connection taken up now: parked deliveries, and its own events.

    Call it in the transaction that makes the connection work. What is missed by it, the sweep finds.
    """
    own = Q(connection=connection)
    if connection.company_id:
        own |= Q(connection=None, company_id=connection.company_id)
    Delivery.objects.unmatched().filter(own).update(state=Delivery.State.RECEIVED)
    EventQueue.objects.call([connection.pk])
    Event.objects.open().filter(connection=connection).update(next_attempt_at=Now())
    lane = EventQueue.objects.filter(pk=connection.pk)
    # Without access SnapInspect may have sent nothing.
    lane.filter(gap_since=None, fine_at__lt=Now() - EventQueue.GAP).update(gap_since=F("fine_at"))
    lane.update(paused_until=None, pauses=0, pause_kind="", fine_at=Now())


def take_up_parked() -> int:
    """Has unmatched deliveries placed that belong to somebody by now; returns how many."""
    # Asked one by one: for both at once, a database goes through all connections.
    found = [
        pk
        for kind in (Delivery.objects.of_a_company(), Delivery.objects.of_their_connection())
        for pk in kind.order_by("pk").values_list("pk", flat=True)[:BATCH]
    ]
    return Delivery.objects.unmatched().filter(pk__in=found).update(state=Delivery.State.RECEIVED) if found else 0


def throw_out_parked() -> int:
    """Deletes what is parked beyond the rule; returns how many."""
    parked = Delivery.objects.parked()
    gone = parked.filter(received_at__lt=Now() - PARKED_FOR).delete()[0]
    first_too_many = parked.order_by("-pk").values_list("pk", flat=True)[MOST_PARKED : MOST_PARKED + 1].first()
    if first_too_many is not None:
        too_many = parked.filter(pk__lte=first_too_many).order_by().values_list("pk", flat=True)
        # By the thousand: what is deleted is read before, and a flood's bodies need not be in memory all at once.
        while batch := list(too_many[:BATCH]):
            gone += parked.filter(pk__in=batch).delete()[0]
    if gone:
        logger.warning("%s parked deliveries were thrown out: older than %s, or too many.", gone, PARKED_FOR)
    return gone


def call_lanes() -> None:
    """Has every lane with due events looked at, whatever has been lost on the way."""
    waiting = Event.objects.due().filter(_nobody_looks()).order_by().values_list("connection_id", flat=True)
    # One after the other: joined to them, PostgreSQL reads every connection there is.
    if found := list(waiting.distinct()):
        EventQueue.objects.call(
            Connection.objects.filter(pk__in=found).exclude(state=State.DISCONNECTED).values_list("pk", flat=True)
        )


def replay(event: Event, *, by: User) -> bool:
    """Has a finished event processed again; whether it was finished.

    After a failure, handlers that succeeded are not run again. An event that was done starts from the beginning: all
    handlers run, with a new idempotency key.
    """
    with transaction.atomic():
        changed = process_again([event])
        if changed:
            _audit("event.replayed", event, by)
    return bool(changed)


def process_again(events: Sequence[Event]) -> int:
    """Has those of these events that are finished processed again, as `replay` says; returns how many those were.

    Call it in a transaction, with a few hundred at most; who wanted it is the caller's to record.
    """
    EventQueue.objects.call({event.connection_id for event in events})
    finished = Event.objects.filter(pk__in=[event.pk for event in events]).exclude(state__in=Event.OPEN)
    done = list(finished.filter(state=Event.State.DONE).values_list("pk", flat=True))
    HandlerRun.objects.filter(event__in=done).delete()
    Event.objects.filter(pk__in=done).update(replays=F("replays") + 1)
    return finished.update(
        state=Event.State.RECEIVED, attempts=0, next_attempt_at=Now(), finished_at=None, last_error_kind=""
    )


def ignore(event: Event, *, by: User) -> bool:
    """Takes an event out of the work; whether it was in it, or had failed."""
    with transaction.atomic():
        changed = (
            Event.objects.filter(pk=event.pk, state__in=[*Event.OPEN, Event.State.FAILED, Event.State.UNMATCHED])
        ).update(state=Event.State.IGNORED, finished_at=Now(), repeat_of=None)
        if changed:
            _audit("event.ignored", event, by)
    return bool(changed)


def assign(delivery: Delivery, connection: Connection, *, by: User) -> bool:
    """Places an unmatched delivery with this connection, by a person's word; whether it was unmatched.

    SnapInspect is still asked with the connection's own token, and decides.
    """
    with transaction.atomic():
        changed = (
            Delivery.objects.unmatched()
            .filter(pk=delivery.pk)
            .update(state=Delivery.State.RECEIVED, assigned_to=connection)
        )
        if changed:
            audit.record(
                "delivery.assigned",
                customer=connection.customer,
                actor=by,
                subject=connection.code,
                delivery=delivery.pk,
            )
    return bool(changed)


def read_again(delivery: Delivery, *, by: User) -> bool:
    """Has a delivery that waits, or was ignored, read and placed again; whether it was one of these."""
    return _set_state(delivery, {*Delivery.PARKED, Delivery.State.IGNORED}, "delivery.read_again", by, problem="")


def set_aside(delivery: Delivery, *, by: User) -> bool:
    """Ignores a parked delivery; whether it was one."""
    return _set_state(delivery, set(Delivery.PARKED), "delivery.ignored", by, state=Delivery.State.IGNORED)


def _set_state(delivery: Delivery, before: set[Delivery.State], kind: str, by: User, **changes: str) -> bool:
    with transaction.atomic():
        rows = Delivery.objects.filter(pk=delivery.pk, state__in=before)
        changed = rows.update(**{"state": Delivery.State.RECEIVED, **changes})
        if changed:
            audit.record(kind, actor=by, delivery=delivery.pk)
    return bool(changed)


def _nobody_looks() -> Q:
    idle = (
        Q(connection__event_queue=None)
        | Q(connection__event_queue__due_at=None)
        | Q(connection__event_queue__due_at__gt=Now())
    )
    return idle & (Q(connection__event_queue=None) | Q(connection__event_queue__lease_until=None))


def _audit(kind: str, event: Event, by: User) -> None:
    connection = Connection.objects.select_related("customer").get(pk=event.connection_id)
    audit.record(kind, customer=connection.customer, actor=by, subject=connection.code, event=event.code)

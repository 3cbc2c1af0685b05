"""Deliveries that belong to no connection (yet), or cannot be read.

Unmatched and quarantined deliveries are parked: at most MOST_PARKED in all; of more, the oldest of the sender that has
most are deleted first (how long they are kept: `operations.retention`). An unmatched one is routed again when its
company connects or reconnects, when its connection has fewer than `routing.MOST_OPEN` unfinished events, or when staff
assign it.
"""

import logging

from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations.events import routing
from integrations.models import Connection, Delivery, Event, EventQueue, State

logger = logging.getLogger(__name__)

MOST_PARKED = 10_000
BATCH = 1000


def resume_connection(connection: Connection) -> None:
    """Makes everything that waited for this connection due now: parked deliveries, and its own events.

    Call it in the transaction that makes the connection work. The sweep finds what this misses.
    """
    own = Q(connection=connection)
    if connection.company_id:
        own |= Q(connection=None, company_id=connection.company_id)
    Delivery.objects.unmatched().filter(own).update(state=Delivery.State.RECEIVED)
    EventQueue.objects.wake([connection.pk])
    Event.objects.open().filter(connection=connection).update(next_attempt_at=Now())
    queue = EventQueue.objects.filter(pk=connection.pk)
    queue.note_gap()  # without access SnapInspect may have sent nothing
    queue.update(paused_until=None, pauses=0, pause_kind="", fine_at=Now(), gap_tries=0, gap_retry_at=None)


def release_matched() -> int:
    """Has unmatched deliveries routed that belong to a connection now, and that it has room for; returns how many."""
    held = _held_back()
    # Two queries: for both at once, a database reads all connections.
    found = [
        pk
        for matched in (Delivery.objects.of_a_company(), Delivery.objects.of_their_connection())
        for pk in matched.exclude(held).order_by("pk").values_list("pk", flat=True)[:BATCH]
    ]
    return Delivery.objects.unmatched().filter(pk__in=found).update(state=Delivery.State.RECEIVED) if found else 0


def _held_back() -> Q:
    """Which parked deliveries still wait for a connection to have fewer unfinished events."""
    waiting = Q(problem=routing.TOO_MANY)
    full = routing.full_connections() if Delivery.objects.unmatched().filter(waiting).exists() else set()
    if not full:
        return Q(pk__in=[])
    companies = Connection.objects.exclude(state=State.DISCONNECTED).exclude(company_id="")
    with_room = companies.exclude(pk__in=full).values("company_id")
    all_full = companies.filter(pk__in=full).exclude(company_id__in=with_room).values("company_id")
    return waiting & (
        Q(assigned_to__in=full)
        | Q(assigned_to=None, connection__in=full)
        | Q(assigned_to=None, connection=None, company_id__in=list(all_full.values_list("company_id", flat=True)))
    )


def delete_surplus() -> int:
    """Deletes what is more than MOST_PARKED, the oldest of those senders that have most; returns how many."""
    parked = Delivery.objects.parked()
    if parked.count() <= MOST_PARKED:
        return 0
    # Per address, company named, and whether it can be read: nobody's flood pushes out what somebody else has sent.
    columns = ("connection", "company_id", "state")
    senders = list(parked.order_by().values_list(*columns).annotate(n=Count("pk")))
    share = _share([size for *_, size in senders])
    deleted = 0
    for *sender, size in senders:
        surplus = size - share
        of_sender = parked.filter(**dict(zip(columns, sender, strict=True))).order_by("pk").values_list("pk", flat=True)
        # In batches: Django reads what it deletes, and the bodies need not be in memory all at once.
        while surplus > 0 and (batch := list(of_sender[: min(BATCH, surplus)])):
            deleted += parked.filter(pk__in=batch).delete()[0]
            surplus -= len(batch)
    logger.warning("%s parked deliveries were deleted: more than %s.", deleted, MOST_PARKED)
    return deleted


def _share(sizes: list[int]) -> int:
    """How many of each sender's fit, so that those who have fewer keep all."""
    room, share = MOST_PARKED, MOST_PARKED
    for index, size in enumerate(sorted(sizes)):
        share = room // (len(sizes) - index)
        if size > share:
            break
        room -= size
    return share


def assign(delivery: Delivery, connection: Connection, *, by: User) -> bool:
    """Has a parked delivery routed to this connection; whether it was parked.

    SnapInspect is still asked with the connection's own token, and decides.
    """
    with transaction.atomic():
        waiting = Delivery.objects.parked().filter(pk=delivery.pk)
        changed = waiting.update(state=Delivery.State.RECEIVED, assigned_to=connection)
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
    """Has a parked or ignored delivery read and routed again; whether it was one of these."""
    before = {*Delivery.PARKED, Delivery.State.IGNORED}
    return _change(delivery, before, "delivery.read_again", by, state=Delivery.State.RECEIVED, problem="")


def ignore(delivery: Delivery, *, by: User) -> bool:
    """Ignores a parked delivery; whether it was one."""
    return _change(delivery, set(Delivery.PARKED), "delivery.ignored", by, state=Delivery.State.IGNORED)


def _change(delivery: Delivery, before: set[Delivery.State], kind: str, by: User, **changes: str) -> bool:
    with transaction.atomic():
        changed = Delivery.objects.filter(pk=delivery.pk, state__in=before).update(**changes)
        if changed:
            audit.record(kind, actor=by, delivery=delivery.pk)
    return bool(changed)

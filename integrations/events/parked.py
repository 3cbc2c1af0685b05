"""Deliveries that belong to no connection (yet), or cannot be read.

Unmatched and quarantined deliveries are parked, as many as `quotas` allows (how long they are kept:
`operations.retention`). An unmatched one is routed again when its company connects or reconnects, when its connection
has room for more events (see `routing`), or when staff assign it.
"""

import logging

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations.events import quotas, routing
from integrations.models import Connection, Delivery, Event, EventQueue, State

logger = logging.getLogger(__name__)

BATCH = 1000
# With bodies of 64 kB, more would keep SQLite's one writer from storing deliveries for tenths of a second.
DELETED_AT_A_TIME = 8


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
    """Deletes what is beyond the quotas, the oldest of whoever has most; returns how many."""
    surplus, deleted = quotas.surplus(), 0
    for begin in range(0, len(surplus), DELETED_AT_A_TIME):
        some = Delivery.objects.parked().filter(pk__in=surplus[begin : begin + DELETED_AT_A_TIME])
        # Django reads what it deletes: without the bodies.
        deleted += some.only("pk").delete()[0]
    if deleted:
        logger.warning("%s parked deliveries were deleted: more than there is room for.", deleted)
    return deleted


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

"""The end of a customer: everything that belongs to it goes, and one line in the audit trail stays."""

import time

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from accounts import audit
from accounts.models import Customer, User
from integrations.models import Connection, Delivery, Event, EventDelivery, State

BATCH = 500


def still_connected(customer: Customer) -> list[Connection]:
    """Connections whose access is still kept: ended at SnapInspect first, by a disconnect, and only then deleted."""
    kept = ~Q(state=State.DISCONNECTED) | Q(pairs__isnull=False)  # a reconnect on its way has a pair already
    return list(customer.connections.filter(kept).distinct())


def counts(customer: Customer, *, most: int = 10_000) -> dict[str, int]:
    """How much would be deleted, counted up to `most` of each."""
    events = Event.objects.filter(connection__customer=customer)
    return {
        "memberships": customer.memberships.count(),
        "connections": customer.connections.count(),
        "events": events.order_by()[:most].count(),
        "entries of the audit trail": customer.audit_entries.order_by()[:most].count(),
    }


def delete(customer: Customer, *, by: User, seconds: float) -> bool:
    """Deletes the customer with all that is its own; False when that takes longer: then ask again, and it goes on.

    A connection that is not disconnected yet is left alone, and so is its customer.
    """
    give_up_at = time.monotonic() + seconds
    if still_connected(customer):
        return False
    goes = counts(customer)
    # Batch by batch: a customer's events may be too many for one transaction that everybody else waits for.
    for connection in customer.connections.all():
        while batch := list(connection.events.order_by("pk").values_list("pk", flat=True)[:BATCH]):
            with transaction.atomic():
                _erase_deliveries(batch)
                Event.objects.filter(pk__in=batch).delete()
            if time.monotonic() > give_up_at:
                return False
    with transaction.atomic():
        # Somebody may have come back from SnapInspect since the first look: who does so now waits for this to end.
        customer.lock()
        list(customer.connections.select_for_update().values_list("pk"))
        if still_connected(customer):
            return False
        # The customer's own trail goes with it; that it was deleted, and by whom, stays.
        audit.record(
            "customer.deleted",
            actor=by,
            subject=customer.code,
            memberships=goes["memberships"],
            connections=goes["connections"],
        )
        customer.delete()
    return True


def _erase_deliveries(events: list[int]) -> None:
    """Deletes the deliveries that announced these events and no others."""
    elsewhere = EventDelivery.objects.filter(delivery=OuterRef("pk")).exclude(event__in=events)
    Delivery.objects.filter(events__in=events).filter(~Exists(elsewhere)).delete()

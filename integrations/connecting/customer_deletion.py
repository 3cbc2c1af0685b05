"""Deletes a customer with everything that belongs to it; one line in the audit trail stays."""

import time

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from accounts import audit
from accounts.models import Customer, User
from integrations.models import Connection, Delivery, Event, EventDelivery, OutgoingMessage, State

BATCH = 500
MOST_COUNTED = 10_000


def still_connected(customer: Customer) -> list[Connection]:
    """Connections that have to be disconnected first, which revokes their tokens at SnapInspect."""
    kept = ~Q(state=State.DISCONNECTED) | Q(pairs__isnull=False)  # a reconnect in progress has a pair already
    return list(customer.connections.filter(kept).distinct())


def counts(customer: Customer) -> dict[str, int]:
    """How many rows would be deleted, counted up to MOST_COUNTED of each kind."""
    events = Event.objects.filter(connection__customer=customer)
    return {
        "memberships": customer.memberships.count(),
        "connections": customer.connections.count(),
        "events": events.order_by()[:MOST_COUNTED].count(),
        "audit log entries": customer.audit_entries.order_by()[:MOST_COUNTED].count(),
    }


def delete(customer: Customer, *, by: User, seconds: float) -> bool:
    """Deletes the customer and its rows; False when that takes more than `seconds`: call again to continue.

    Also False, and nothing is deleted, while a connection is not disconnected.
    """
    give_up_at = time.monotonic() + seconds
    if still_connected(customer):
        return False
    goes = counts(customer)
    # In batches: a single transaction over many events would block others.
    for connection in customer.connections.all():
        while batch := list(connection.events.order_by("pk").values_list("pk", flat=True)[:BATCH]):
            with transaction.atomic():
                _delete_deliveries(batch)
                Event.objects.filter(pk__in=batch).delete()
            if time.monotonic() > give_up_at:
                return False
    # With their deliveries and the tries of these.
    told = OutgoingMessage.objects.filter(customer=customer).order_by("pk").values_list("pk", flat=True)
    while batch := list(told[:BATCH]):
        OutgoingMessage.objects.filter(pk__in=batch).delete()
        if time.monotonic() > give_up_at:
            return False
    with transaction.atomic():
        # A callback may have connected it since the first check; a callback from now on waits for these locks.
        customer.lock()
        list(customer.connections.select_for_update().values_list("pk"))
        if still_connected(customer):
            return False
        # The customer's own audit trail is deleted with it; this entry stays.
        audit.record(
            "customer.deleted",
            actor=by,
            subject=customer.code,
            memberships=goes["memberships"],
            connections=goes["connections"],
        )
        customer.delete()
    return True


def _delete_deliveries(events: list[int]) -> None:
    """Deletes the deliveries that announced these events and no others."""
    elsewhere = EventDelivery.objects.filter(delivery=OuterRef("pk")).exclude(event__in=events)
    Delivery.objects.filter(events__in=events).filter(~Exists(elsewhere)).delete()

"""Moves what came for one connection to another connection of the same customer, before the first one is deleted."""

from integrations.events import routing
from integrations.models import Connection, Delivery, Event, EventQueue, NamedLock
from integrations.tokens import lease


def lock(connection: Connection, to: Connection) -> None:
    """Locks both connections and their queues until the caller's transaction ends, and keeps routing from either."""
    NamedLock.objects.lock(routing.LOCK)
    lease.lock_connection(to)
    # The key, too: the webhook endpoint may be storing a delivery to the first one. It waits, and answers 503.
    list(Connection.objects.select_for_update().filter(pk=connection.pk).values_list("pk"))
    EventQueue.objects.wake([connection.pk, to.pk])


def move_events(connection: Connection, to: Connection) -> None:
    """Moves events, with their attempts, and deliveries. Call `lock` first."""
    Event.objects.filter(connection=connection).update(connection=to)
    Delivery.objects.filter(connection=connection).update(connection=to)
    Delivery.objects.filter(assigned_to=connection).update(assigned_to=to)

"""Which queue a worker takes next, and its lease: a connection's events are processed by one worker at a time.

A worker leases a connection's queue, on the database's clock. So events of one connection are processed in order, and
of two look-ups of one inspection the later one is newer.

Customers share the workers. Queues of customers without a worker come first, then those that wait longest; a queue that
still has work after its time slice goes to the end. So a flood of one customer's, through one connection or a hundred,
delays the others by one time slice. An account whose API is slow or hangs costs them less than that: see
`background.pool`.
"""

import logging
import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from integrations.events.leased_queue import LeasedQueue, LostLease
from integrations.models import USABLE, Connection, Event, EventQueue, State, leases
from integrations.models.event_queues import EventQueueQuerySet

logger = logging.getLogger(__name__)

# Queues whose lease was held, or being taken, when the database went away, and its owner. The sweep removes them.
_interrupted: deque[tuple[int, str]] = deque()


def due() -> "QuerySet[EventQueue]":
    """Queues with something to do whose connection's state allows it, the longest waiting first."""
    allowed = Q(state__in=USABLE)
    if not settings.SNAPINSPECT_INSPECTION_PATH:
        allowed = ~Q(state=State.DISCONNECTED)  # nothing is looked up, so no token is needed
    # A subquery: for a join PostgreSQL reads every connection there is.
    state = Subquery(Connection.objects.filter(pk=OuterRef("connection")).values("state"))
    return EventQueue.objects.due().alias(state=state).filter(allowed).order_by("due_at")


def next_due() -> "QuerySet[EventQueue]":
    """Due queues, in the order in which to process them."""
    leased = EventQueue.objects.filter(lease_until__gt=Now(), connection__customer=OuterRef("connection__customer"))
    return due().order_by(Exists(leased), "due_at")


def wake_due() -> None:
    """Makes queues due whose events are due and which no worker would look at otherwise."""
    forgotten = Q(connection__event_queue=None) | (
        Q(connection__event_queue__lease_until=None)
        & (Q(connection__event_queue__due_at=None) | Q(connection__event_queue__due_at__gt=Now()))
    )
    found = list(Event.objects.due().filter(forgotten).order_by().values_list("connection_id", flat=True).distinct())
    # Two queries: for a join PostgreSQL reads every connection there is.
    if found:
        live = Connection.objects.filter(pk__in=found).exclude(state=State.DISCONNECTED)
        EventQueue.objects.wake(live.values_list("pk", flat=True))


def process(queue_id: int) -> None:
    """Processes a due queue until it is empty, its time slice is over, or SnapInspect does not answer."""
    try:
        with claimed(queue_id, of=EventQueue.objects.due(), due_at=None) as leased:
            if leased is not None:
                leased.process()
                leased.release()
    except LostLease:
        logger.info("Lost the lease of queue %s to another worker.", queue_id)


def release_interrupted() -> None:
    """Releases the queues that this process held when the database went away, before their leases run out.

    Their events do not count as what may have killed a worker: this one lives.
    """
    while _interrupted:
        queue_id, owner = _interrupted[0]
        # LostLease: it was never taken, or the database was away for longer than the lease.
        with suppress(LostLease, Connection.DoesNotExist):
            LeasedQueue(Connection.objects.get(pk=queue_id), owner).release()
        _interrupted.popleft()


@contextmanager
def claimed(queue_id: int, *, of: EventQueueQuerySet | None = None, **changes: Any) -> Iterator[LeasedQueue | None]:
    """Leases this queue and makes these changes to it; None if it is leased, or not one `of` these.

    Whoever claims it releases it. If the database goes away within the block, `release_interrupted` does: also where
    the lease was taken, and the answer that it is was lost.
    """
    owner = secrets.token_hex(16)
    queue = (EventQueue.objects.all() if of is None else of).filter(pk=queue_id).unleased()
    try:
        took = queue.update(lease_owner=owner, lease_until=Now() + leases.LEASE, **changes) == 1
        yield LeasedQueue(Connection.objects.select_related("customer").get(pk=queue_id), owner) if took else None
    except (OperationalError, InterfaceError):
        _interrupted.append((queue_id, owner))
        raise

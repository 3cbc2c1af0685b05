"""From a delivery to the events it announces: which connections it belongs to.

The application's address: every connection of the company that the body names, unless it is disconnected. A
connection's own address: that connection only. If the body names another company than the connection's, the delivery
stays unmatched. Unmatched deliveries are parked until their company connects, or staff assign them (see `parked`).
Whether a delivery makes a new event or repeats one is decided in `duplicates`.

Anybody who knows the secret can send, so what is kept is limited: a connection with MOST_OPEN unfinished events, or
whose customer has used up its quota (see `quotas`), gets no more: its deliveries are parked until there is room. Where
other connections of the company have room, those get their events, and a copy is parked for the full one.
"""

import logging
from collections import defaultdict

from django.db import IntegrityError, transaction
from django.db.models import Count

from integrations.events import duplicates, quotas
from integrations.events.parsed_deliveries import ParsedDelivery, parse
from integrations.models import Connection, Delivery, Event, EventDelivery, EventQueue, NamedLock, State

logger = logging.getLogger(__name__)

BATCH = 500
MOST_OPEN = 100_000
# The named lock of whoever locks the queues of several connections, so that no two wait for each other, and of whoever
# makes events: they become visible in the order of their keys, on which the API's cursor relies.
LOCK = "placing"
# The problem of a delivery that is parked until its connection has fewer unfinished events.
TOO_MANY = "too_many"


class RoutedByAnother(Exception):
    """Another worker has routed some of these deliveries: nothing was written."""


def route_batch() -> int:
    """Makes events of one batch of received deliveries, in one transaction; returns how many deliveries."""
    rows = Delivery.objects.received().order_by("pk")
    columns = rows.values_list("pk", "connection_id", "assigned_to_id", "received_at", "body")
    deliveries = [parse(*row) for row in columns[:BATCH]]
    if not deliveries:
        return 0
    single = [delivery for delivery in deliveries if not delivery.parts]
    _find_connections(single)
    _park_surplus(single)
    matched = [delivery for delivery in deliveries if delivery.connections]
    newest = duplicates.NewestEvents(matched)
    try:
        with transaction.atomic():
            _settle(deliveries)
            _make_events(matched, newest)
            _split(deliveries)
            _park_copies(deliveries)
    except RoutedByAnother:
        return 0
    except IntegrityError:
        # A connection was deleted meanwhile: nothing was written, and the next turn does not find it any more.
        logger.info("A batch of deliveries is routed again: one of its connections was deleted meanwhile.")
        return 0
    return len(deliveries)


def _find_connections(deliveries: list[ParsedDelivery]) -> None:
    """Sets the connections of each readable delivery; those without one become unmatched."""
    readable = [delivery for delivery in deliveries if delivery.state == Delivery.State.PLACED]
    companies = {delivery.hint.company_id for delivery in readable if delivery.address is None} - {""}
    named = {pk for delivery in readable for pk in (delivery.address, delivery.assigned) if pk is not None}
    of_company: dict[str, list[int]] = defaultdict(list)
    company_of: dict[int, str] = {}
    live = Connection.objects.exclude(state=State.DISCONNECTED).order_by("pk")
    for pk, company in live.filter(company_id__in=companies).values_list("pk", "company_id"):
        of_company[company].append(pk)
    if named:
        company_of.update(live.filter(pk__in=named).values_list("pk", "company_id"))
    for delivery in readable:
        claimed = delivery.hint.company_id
        if delivery.assigned is not None:
            delivery.connections = [delivery.assigned] if delivery.assigned in company_of else []
        elif delivery.address is None:
            delivery.connections = of_company[claimed] if claimed else []
        elif delivery.address in company_of and (not claimed or company_of[delivery.address] in {"", claimed}):
            delivery.connections = [delivery.address]
        if not delivery.connections:
            delivery.state = Delivery.State.UNMATCHED


def full_connections(among: set[int] | None = None) -> set[int]:
    """Connections that get no more events for now; among: only of these."""
    waiting = Event.objects.open().order_by().values("connection")
    owners = Connection.objects.filter(pk__in=waiting) if among is None else Connection.objects.filter(pk__in=among)
    customers: dict[int, int] = dict(owners.values_list("pk", "customer"))
    waiting = waiting.filter(connection__in=customers)
    full = set(waiting.annotate(n=Count("pk")).filter(n__gte=MOST_OPEN).values_list("connection", flat=True))
    used = quotas.waiting(customers.values())
    return full | {pk for pk, customer in customers.items() if used.get(customer, 0) >= 1}


def _park_surplus(deliveries: list[ParsedDelivery]) -> None:
    """Parks deliveries to connections that have too many unfinished events."""
    full = full_connections({pk for delivery in deliveries for pk in delivery.connections})
    if not full:
        return
    for delivery in deliveries:
        accepted = [pk for pk in delivery.connections if pk not in full]
        if accepted:
            delivery.refused_by = [pk for pk in delivery.connections if pk in full]
        elif delivery.connections:
            delivery.state, delivery.problem = Delivery.State.UNMATCHED, TOO_MANY
        delivery.connections = accepted
    logger.warning("Too many events of connections %s wait: what comes now is parked.", sorted(full))


def _settle(deliveries: list[ParsedDelivery]) -> None:
    # One worker at a time: two that route two copies of a delivery at the same moment would make two events of them.
    NamedLock.objects.lock(LOCK)
    read = [
        (it.state, it.problem, it.hint.type, it.hint.inspection_id, it.hint.review_id, it.hint.company_id, it.pk)
        for it in deliveries
    ]
    if not Delivery.objects.settle(read):
        raise RoutedByAnother


def _make_events(matched: list[ParsedDelivery], newest: duplicates.NewestEvents) -> None:
    if not matched:
        return
    # First the queues' rows, as workers do: no event of these connections changes between reading and joining it.
    EventQueue.objects.wake({pk for delivery in matched for pk in delivery.connections})
    newest.read()
    pairs = [(delivery, newest.event_for(delivery, pk)) for delivery in matched for pk in delivery.connections]
    newest.write()
    pairs = duplicates.without_surplus(pairs, new={event.pk for event in newest.created})
    EventDelivery.objects.insert("event_id", "delivery_id", rows=((event.pk, delivery.pk) for delivery, event in pairs))


def _split(deliveries: list[ParsedDelivery]) -> None:
    """Makes a delivery of each event in a body that has several: each may belong to somebody else."""
    Delivery.objects.bulk_create(
        Delivery(
            connection_id=delivery.address,
            assigned_to_id=delivery.assigned,
            received_at=delivery.received_at,
            content_type="application/json",
            body=part,
        )
        for delivery in deliveries
        for part in delivery.parts
    )


def _park_copies(deliveries: list[ParsedDelivery]) -> None:
    """Parks a copy of a delivery for each connection that was full when others of its company got their event."""
    refused = {delivery.pk: delivery.refused_by for delivery in deliveries if delivery.refused_by}
    if not refused:
        return
    Delivery.objects.bulk_create(
        Delivery(
            assigned_to_id=connection,
            received_at=original.received_at,
            content_type=original.content_type,
            body=bytes(original.body),
            state=Delivery.State.UNMATCHED,
            problem=TOO_MANY,
            type=original.type,
            inspection_id=original.inspection_id,
            review_id=original.review_id,
            company_id=original.company_id,
        )
        for original in Delivery.objects.filter(pk__in=refused)
        for connection in refused[original.pk]
    )

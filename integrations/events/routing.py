"""From a delivery to the events it announces: which connections it belongs to, and whether it is a repetition.

Connections. The application's address: every connection of the company that the body names, unless it is disconnected.
A connection's own address: that connection only. If the body names another company than the connection's, the delivery
stays unmatched. Unmatched deliveries are parked until their company connects, or staff assign them (see `parked`).

Repetitions. A delivery joins the newest event of the same connection, type, inspection and review when its bytes are
equal and

    that event is unfinished      and its look-up, still to come, will show whatever this delivery announces; or
    it came within 2 h 15 min     of that event's first delivery, and a new look-up equals that event's content. Where
                                  nothing can be looked up, coming in time is enough.

Otherwise it makes a new event. The reasons: SnapInspect tries five times within two hours, with equal bytes, and sends
no event ID; but a second real upload sends equal bytes too, so equal bytes alone never make a repetition. Only the
*newest* event counts: status A, B, A is three events, although the third delivery equals the first. The review is part
of the comparison, since two reviews of one inspection are two events. A delivery never joins a failed or ignored event
without content: no content equals theirs.

An event that recovery made (see `recovery`) has no bytes. A delivery of that inspection which comes within the same
time joins it when the look-up shows nothing new: SnapInspect's late tries for what recovery has found already.

This module decides whether a look-up is needed, `attempts` what it shows: until then the new event has `repeat_of` set.

Limits. Anybody who knows the secret can send, so what is kept is limited: a connection with MOST_OPEN unfinished events
gets no more of them, its deliveries are parked until there are fewer; and of equal deliveries of one event, MOST_COPIES
are kept.
"""

import hashlib
import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Max
from django.utils import timezone

from integrations.events import verification
from integrations.models import Connection, Delivery, Event, EventDelivery, EventQueue, NamedLock, State
from integrations.snapinspect import webhook_body
from integrations.snapinspect.webhook_body import Hint, Unreadable

logger = logging.getLogger(__name__)

# The vendor's two hours for its five tries, and a quarter of an hour for slow clocks and queues.
REPEATS_WITHIN = timedelta(hours=2, minutes=15)
# A possible repetition is looked up after this: more copies may follow, and one look-up serves them all.
REPEAT_DELAY = timedelta(seconds=3)
BATCH = 500
MOST_OPEN = 100_000
MOST_COPIES = 1000
# The named lock of whoever locks the queues of several connections: one at a time, so that no two wait for each other.
LOCK = "placing"

Subject = tuple[int, str, str, str]  # connection, inspection, type, review


class RoutedByAnother(Exception):
    """Another worker has routed some of these deliveries: nothing was written."""


@dataclass(slots=True)
class ParsedDelivery:
    """A delivery whose body was read: its new state, and the connections that it belongs to."""

    pk: int
    address: int | None
    assigned: int | None
    received_at: datetime
    body_sha256: str
    hint: Hint
    state: str = Delivery.State.PLACED
    problem: str = ""
    connections: list[int] = field(default_factory=list)


Pair = tuple[ParsedDelivery, Event]


def route_batch() -> int:
    """Makes events of one batch of received deliveries, in one transaction; returns how many deliveries."""
    rows = Delivery.objects.received().order_by("pk")
    columns = rows.values_list("pk", "connection_id", "assigned_to_id", "received_at", "body")
    deliveries = [_parse(*row) for row in columns[:BATCH]]
    if not deliveries:
        return 0
    _find_connections(deliveries)
    _park_surplus(deliveries)
    try:
        with transaction.atomic():
            _write(deliveries)
    except RoutedByAnother:
        return 0
    return len(deliveries)


def _parse(
    pk: int, address: int | None, assigned: int | None, received_at: datetime, body: bytes | memoryview
) -> ParsedDelivery:
    raw = bytes(body)
    parsed = ParsedDelivery(pk, address, assigned, received_at, hashlib.sha256(raw).hexdigest(), Hint())
    try:
        parsed.hint = webhook_body.read(raw)
    except Unreadable as unreadable:
        parsed.state, parsed.problem = Delivery.State.QUARANTINED, unreadable.problem
    return parsed


def _find_connections(deliveries: list[ParsedDelivery]) -> None:
    """Sets the connections of each readable delivery; those without one become unmatched."""
    readable = [delivery for delivery in deliveries if not delivery.problem]
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


def _park_surplus(deliveries: list[ParsedDelivery]) -> None:
    """Parks deliveries to connections that have too many unfinished events."""
    connections = {pk for delivery in deliveries for pk in delivery.connections}
    waiting = Event.objects.open().filter(connection__in=connections).order_by().values("connection")
    full = set(waiting.annotate(n=Count("pk")).filter(n__gte=MOST_OPEN).values_list("connection", flat=True))
    if not full:
        return
    for delivery in deliveries:
        accepted = [pk for pk in delivery.connections if pk not in full]
        if delivery.connections and not accepted:
            delivery.state, delivery.problem = Delivery.State.UNMATCHED, "too_many"
        delivery.connections = accepted
    logger.warning("%s events or more of connections %s wait: what comes now is parked.", MOST_OPEN, sorted(full))


def _write(deliveries: list[ParsedDelivery]) -> None:
    # One worker at a time: two that route two copies of a delivery at the same moment would make two events of them.
    NamedLock.objects.lock(LOCK)
    read = [
        (it.state, it.problem, it.hint.type, it.hint.inspection_id, it.hint.review_id, it.hint.company_id, it.pk)
        for it in deliveries
    ]
    if not Delivery.objects.settle(read):
        raise RoutedByAnother
    matched = [delivery for delivery in deliveries if delivery.connections]
    if not matched:
        return
    # First the queues' rows, as workers do: no event of these connections changes between reading and joining it.
    EventQueue.objects.wake({pk for delivery in matched for pk in delivery.connections})
    newest = _NewestEvents(matched)
    pairs = [(delivery, newest.event_for(delivery, pk)) for delivery in matched for pk in delivery.connections]
    Event.objects.bulk_create(newest.created)
    pairs = _without_surplus(pairs, new={event.pk for event in newest.created})
    EventDelivery.objects.insert("event", "delivery", rows=((event.pk, delivery.pk) for delivery, event in pairs))


def _without_surplus(pairs: list[Pair], *, new: set[int]) -> list[Pair]:
    """Those of events with fewer than MOST_COPIES deliveries; deletes the other deliveries, which say the same.

    new: events just made, each of which keeps the delivery that made it.
    """
    ids = {pk for _, event in pairs for pk in (event.pk, event.repeat_of_id) if pk is not None} - new
    linked = EventDelivery.objects.filter(event__in=ids).order_by().values("event").annotate(n=Count("pk"))
    copies = Counter(dict(linked.values_list("event", "n")))
    kept = []
    for delivery, event in pairs:
        if copies[event.pk] + copies[event.repeat_of_id] < MOST_COPIES or (event.pk in new and not copies[event.pk]):
            copies[event.pk] += 1
            kept.append((delivery, event))
    if len(kept) < len(pairs):
        surplus = {delivery.pk for delivery, _ in pairs} - {delivery.pk for delivery, _ in kept}
        Delivery.objects.filter(pk__in=surplus).delete()
    return kept


class _NewestEvents:
    """The newest event of every subject of these deliveries; decides which of them join it and which make a new one."""

    def __init__(self, deliveries: list[ParsedDelivery]) -> None:
        self.created: list[Event] = []
        connections = {pk for delivery in deliveries for pk in delivery.connections}
        inspections = {delivery.hint.inspection_id for delivery in deliveries}
        types = {delivery.hint.type for delivery in deliveries}
        of_these = Event.objects.filter(connection__in=connections, inspection_id__in=inspections).order_by()
        subjects = of_these.filter(type__in=types).values("connection", "inspection_id", "type", "review_id")
        newest = Event.objects.filter(pk__in=subjects.annotate(newest=Max("pk")).values("newest"))
        self._newest: dict[Subject, Event] = {
            (event.connection_id, event.inspection_id, event.type, event.review_id): event
            for event in newest.defer("content")
        }
        recent = of_these.filter(recovered=True, received_at__gt=timezone.now() - REPEATS_WITHIN)
        inspected = recent.values("connection", "inspection_id").annotate(newest=Max("pk")).values("newest")
        self._recovered = {
            (event.connection_id, event.inspection_id): event
            for event in Event.objects.filter(pk__in=inspected).defer("content")
        }

    def event_for(self, delivery: ParsedDelivery, connection: int) -> Event:
        """The event that this delivery belongs to: an existing one, or one that is added to `created`."""
        hint = delivery.hint
        subject = (connection, hint.inspection_id, hint.type, hint.review_id)
        can_look_up = verification.can_look_up(hint.inspection_id)
        newest = self._newest.get(subject)
        repeat_of = None
        if newest is not None and newest.body_sha256 == delivery.body_sha256:
            if newest.look_up_is_to_come:
                return newest
            if newest.is_open or delivery.received_at - newest.received_at <= REPEATS_WITHIN:
                if not can_look_up:
                    return newest
                repeat_of = newest
        if repeat_of is None and can_look_up:
            repeat_of = self._recovered.get((connection, hint.inspection_id))
        event = Event(
            connection_id=connection,
            type=hint.type,
            inspection_id=hint.inspection_id,
            review_id=hint.review_id,
            company_id=hint.company_id,
            body_sha256=delivery.body_sha256,
            received_at=delivery.received_at,
            repeat_of=repeat_of,
            next_attempt_at=delivery.received_at + (REPEAT_DELAY if repeat_of else timedelta()),
        )
        self.created.append(event)
        self._newest[subject] = event
        return event

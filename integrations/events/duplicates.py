"""Which deliveries say the same: does a delivery announce a new event, or repeat an existing one?

A delivery joins the newest event of the same connection, type, inspection and review when its bytes are equal and

    its look-up is still to come  and will show whatever this delivery announces; or
    it came within 2 h 15 min     of that event's first delivery, or before its end, and a new look-up equals the
                                  content that its handlers were given. Where nothing can be looked up, coming in time
                                  is enough.

Otherwise it makes a new event. The reasons: SnapInspect tries five times within two hours, with equal bytes, and sends
no event ID; but a second real upload sends equal bytes too, so equal bytes alone never make a repetition. Only the
*newest* event counts: status A, B, A is three events, although the third delivery equals the first. The review is part
of the comparison, since two reviews of one inspection are two events. A delivery never joins a failed or ignored event
without content: no content equals theirs.

An event that recovery made (see `recovery`) has no bytes. A delivery of that inspection which comes within the same
time joins it when the look-up shows nothing new: SnapInspect's late tries for what recovery has found already.

This module decides whether a look-up is needed, `attempts` what it shows: until then the new event has `repeat_of` set.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Max
from django.utils import timezone

from accounts.kept_queries import written
from accounts.models import new_code
from integrations.events import quotas, verification
from integrations.events.parsed_deliveries import ParsedDelivery
from integrations.models import Delivery, Event, EventDelivery

# The vendor's two hours for its five tries, and a quarter of an hour for slow clocks and queues.
REPEATS_WITHIN = timedelta(hours=2, minutes=15)
# A possible repetition is looked up after this: more copies may follow, and one look-up serves them all.
REPEAT_DELAY = timedelta(seconds=3)

Subject = tuple[int, str, str, str]  # connection, inspection, type, review


@dataclass(slots=True)
class NewEvent:
    """An event that `NewestEvents.write` inserts: a model instance would take ten times as long."""

    connection_id: int
    delivery: ParsedDelivery
    repeat_of_id: int | None
    code: str = field(default_factory=new_code)
    # Once it is written.
    pk: int = 0

    @property
    def row(self) -> tuple[int | str | datetime | None, ...]:
        """Its values for COLUMNS."""
        delivery, hint = self.delivery, self.delivery.hint
        at = delivery.received_at
        return (
            *(self.code, self.connection_id, hint.type, hint.inspection_id, hint.review_id, hint.company_id),
            *(delivery.body_sha256, at, self.repeat_of_id, at + REPEAT_DELAY if self.repeat_of_id else at),
        )


COLUMNS = (
    *("code", "connection_id", "type", "inspection_id", "review_id", "company_id"),
    *("body_sha256", "received_at", "repeat_of_id", "next_attempt_at"),
)
Pair = tuple[ParsedDelivery, Event | NewEvent]


class NewestEvents:
    """The newest event of every subject of these deliveries; decides which of them join it and which make a new one."""

    def __init__(self, deliveries: list[ParsedDelivery]) -> None:
        """Writes the queries: what comes within the transaction, other writers wait for."""
        self.created: list[NewEvent] = []
        self._newest: dict[Subject, Event | NewEvent] = {}
        self._recovered: dict[tuple[int, str], int] = {}
        connections = {pk for delivery in deliveries for pk in delivery.connections}
        inspections = {delivery.hint.inspection_id for delivery in deliveries}
        types = {delivery.hint.type for delivery in deliveries}
        of_these = Event.objects.filter(connection__in=connections, inspection_id__in=inspections).order_by()
        subjects = of_these.filter(type__in=types).values("connection", "inspection_id", "type", "review_id")
        newest = Event.objects.filter(pk__in=subjects.annotate(newest=Max("pk")).values("newest"))
        self._of_subjects = written(newest.defer("content"))
        recent = of_these.filter(recovered=True, received_at__gt=timezone.now() - REPEATS_WITHIN)
        # The newest is last, and stays.
        recovered = recent.only("connection_id", "inspection_id").order_by("pk")
        self._of_recovery = written(recovered) if any(map(verification.can_look_up, inspections)) else []

    def read(self) -> None:
        for event in self._of_subjects:
            self._newest[event.connection_id, event.inspection_id, event.type, event.review_id] = event
        for event in self._of_recovery:
            self._recovered[event.connection_id, event.inspection_id] = event.pk

    def event_for(self, delivery: ParsedDelivery, connection: int) -> Event | NewEvent:
        """The event that this delivery belongs to: an existing one, or one that `write` will insert."""
        hint = delivery.hint
        subject = (connection, hint.inspection_id, hint.type, hint.review_id)
        can_look_up = verification.can_look_up(hint.inspection_id)
        newest = self._newest.get(subject)
        repeat_of = None
        if isinstance(newest, NewEvent):
            if newest.delivery.body_sha256 == delivery.body_sha256:
                return newest  # its look-up is still to come
        elif newest is not None and newest.body_sha256 == delivery.body_sha256:
            if newest.look_up_is_to_come:
                return newest
            if newest.is_open or delivery.received_at - newest.received_at <= REPEATS_WITHIN:
                if not can_look_up:
                    return newest
                repeat_of = newest.pk
        if repeat_of is None and can_look_up:
            repeat_of = self._recovered.get((connection, hint.inspection_id))
        event = NewEvent(connection, delivery, repeat_of)
        self.created.append(event)
        self._newest[subject] = event
        return event

    def write(self) -> None:
        """Inserts the new events, in this order."""
        rows = (event.row for event in self.created)
        keys: dict[str, int] = dict(Event.objects.insert(*COLUMNS, rows=rows, returning="code, id"))
        for event in self.created:
            event.pk = keys[event.code]


def without_surplus(pairs: list[Pair], *, new: set[int]) -> list[Pair]:
    """Those within `quotas.MOST_COPIES` of their event; deletes the other deliveries, which say the same.

    new: events just made, each of which keeps the delivery that made it.
    """
    ids = {pk for _, event in pairs for pk in (event.pk, event.repeat_of_id) if pk is not None} - new
    copies: Counter[int | None] = Counter()
    if ids:
        linked = EventDelivery.objects.filter(event__in=ids).order_by().values("event").annotate(n=Count("pk"))
        copies.update(dict(linked.values_list("event", "n")))
    kept = []
    for delivery, event in pairs:
        number = copies[event.pk] + copies[event.repeat_of_id] + 1
        fits = quotas.MOST_COPIES.used(number, number * delivery.size) <= 1
        if fits or (event.pk in new and not copies[event.pk]):
            copies[event.pk] += 1
            kept.append((delivery, event))
    if len(kept) < len(pairs):
        surplus = {delivery.pk for delivery, _ in pairs} - {delivery.pk for delivery, _ in kept}
        Delivery.objects.filter(pk__in=surplus).delete()
    return kept

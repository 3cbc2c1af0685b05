"""From a delivery to the events it announces: whose is it, and is it news?

Whose. The application's address: every connection of the company that the body names, unless it is disconnected. A
connection's own address: that connection and no other, whatever company the body names; if it names another one than
the connection's, the delivery stays unmatched. What nobody has is *Unmatched*: parked until that company connects, or
staff assign it (see `inbox`).

News or a repetition. A delivery joins the newest event of the same connection, type, inspection and review when its
bytes are equal and

    that event is unfinished      and its look-up, still to come, will show whatever this delivery announces; or
    it came within 2 h 15 min     of that event's first delivery, and a fresh look-up equals that event's content. Where
                                  nothing can be looked up, coming in time is enough.

Otherwise it makes a new event. The reasons: SnapInspect tries five times within two hours, with equal bytes, and sends
no event ID; but a second real upload sends equal bytes too, so bytes alone never make a repetition. Only the *newest*
event counts: status A, B, A is three events, although the third delivery equals the first. The review belongs to the
comparison, since two reviews of one inspection are two things. Failed and ignored events without content never swallow
a delivery: no content equals theirs.

An event that recovery made (see `recovery`) has no bytes. A delivery of that inspection which comes within the same
time joins it when the look-up shows nothing new: SnapInspect's late tries for what recovery has found already.

Whether a look-up is needed is decided here, what it shows in `processing`: until then the new event stands aside with
`repeat_of` set.

A flood. The secret is all that a sender has to know, so what is kept of it has limits: a connection with MOST_OPEN
events that wait gets no more of them, its deliveries are parked (see `inbox`) until there is room; and of deliveries
that say the same of the same event, MOST_COPIES are kept.
"""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max
from django.utils import timezone

from integrations.models import Connection, Delivery, Event, EventDelivery, EventQueue, NamedLock, State
from integrations.snapinspect import webhook_body
from integrations.snapinspect.webhook_body import Hint, Unreadable

logger = logging.getLogger(__name__)

# The vendor's two hours for its five tries, and a quarter of an hour for slow clocks and queues.
REPEATS_WITHIN = timedelta(hours=2, minutes=15)
# A possible repetition is looked up this late: more copies of it may be on their way, and one look-up serves them all.
SETTLES = timedelta(seconds=3)
BATCH = 500
MOST_OPEN = 100_000
MOST_COPIES = 1000

Subject = tuple[int, str, str, str]  # connection, inspection, type, review


class TakenByAnother(Exception):
    """Another worker has placed some of these deliveries: nothing was written."""


@dataclass(slots=True)
class Letter:
    """A delivery on its way to its events."""

    pk: int
    address: int | None
    assigned: int | None
    received_at: datetime
    body_sha256: str
    hint: Hint
    state: str = Delivery.State.PLACED
    problem: str = ""
    connections: list[int] = field(default_factory=list)


Entry = tuple[Letter, Event]


def place() -> int:
    """Places one batch of received deliveries; returns how many. None are lost or doubled if it is interrupted."""
    rows = list(
        Delivery.objects.received()
        .order_by("pk")
        .values_list("pk", "connection_id", "assigned_to_id", "received_at", "body")[:BATCH]
    )
    if not rows:
        return 0
    letters = [
        _opened(pk, address, assigned, received_at, bytes(body)) for pk, address, assigned, received_at, body in rows
    ]
    _find_connections(letters)
    _turn_away(letters)
    try:
        with transaction.atomic():
            _write(letters)
    except TakenByAnother:
        return 0
    return len(letters)


def _opened(pk: int, address: int | None, assigned: int | None, received_at: datetime, body: bytes) -> Letter:
    letter = Letter(pk, address, assigned, received_at, hashlib.sha256(body).hexdigest(), Hint())
    try:
        letter.hint = webhook_body.read(body)
    except Unreadable as unreadable:
        letter.state, letter.problem = Delivery.State.QUARANTINED, unreadable.problem
    return letter


def _find_connections(letters: list[Letter]) -> None:
    """Notes for each readable letter where it belongs; those that belong nowhere become unmatched."""
    readable = [letter for letter in letters if not letter.problem]
    companies = {letter.hint.company_id for letter in readable if letter.address is None} - {""}
    named = {pk for letter in readable for pk in (letter.address, letter.assigned) if pk is not None}
    of_company: dict[str, list[int]] = defaultdict(list)
    company_of: dict[int, str] = {}
    live = Connection.objects.exclude(state=State.DISCONNECTED).order_by("pk")
    for pk, company in live.filter(company_id__in=companies).values_list("pk", "company_id"):
        of_company[company].append(pk)
    if named:
        company_of.update(live.filter(pk__in=named).values_list("pk", "company_id"))
    for letter in readable:
        said = letter.hint.company_id
        if letter.assigned is not None:
            letter.connections = [letter.assigned] if letter.assigned in company_of else []
        elif letter.address is None:
            letter.connections = of_company[said] if said else []
        elif letter.address in company_of and (not said or company_of[letter.address] in {"", said}):
            letter.connections = [letter.address]
        if not letter.connections:
            letter.state = Delivery.State.UNMATCHED


def _turn_away(letters: list[Letter]) -> None:
    """Parks the letters to connections that have more than enough to do."""
    connections = {pk for letter in letters for pk in letter.connections}
    waiting = Event.objects.open().filter(connection__in=connections).order_by().values("connection")
    full = set(waiting.annotate(n=Count("pk")).filter(n__gte=MOST_OPEN).values_list("connection", flat=True))
    if not full:
        return
    for letter in letters:
        taken = [pk for pk in letter.connections if pk not in full]
        if letter.connections and not taken:
            letter.state, letter.problem = Delivery.State.UNMATCHED, "too_many"
        letter.connections = taken
    logger.warning("%s events or more of connections %s wait: what comes now is parked.", MOST_OPEN, sorted(full))


def _write(letters: list[Letter]) -> None:
    # One worker at a time: two that place two copies of a delivery at the same moment would make two events of them.
    NamedLock.objects.take("placing")
    settled = Delivery.objects.settle(
        [
            (
                letter.state,
                letter.problem,
                letter.hint.type,
                letter.hint.inspection_id,
                letter.hint.review_id,
                letter.hint.company_id,
                letter.pk,
            )
            for letter in letters
        ]
    )
    if not settled:
        raise TakenByAnother
    placed = [letter for letter in letters if letter.connections]
    if not placed:
        return
    # First the lanes, as their workers do: nothing of these connections changes between reading it and joining it.
    EventQueue.objects.call({pk for letter in placed for pk in letter.connections})
    book = _Book(placed)
    entries = [(letter, book.enter(letter, pk)) for letter in placed for pk in letter.connections]
    Event.objects.bulk_create(book.made)
    entries = _without_surplus(entries, new={event.pk for event in book.made})
    EventDelivery.objects.insert("event", "delivery", rows=((event.pk, letter.pk) for letter, event in entries))


def _without_surplus(entries: list[Entry], *, new: set[int]) -> list[Entry]:
    """Those of which there are not copies enough; the other letters are deleted, what they say is known.

    new: events just made, each of which keeps the letter that made it.
    """
    ids = {pk for _, event in entries for pk in (event.pk, event.repeat_of_id) if pk is not None} - new
    linked = EventDelivery.objects.filter(event__in=ids).order_by().values("event").annotate(n=Count("pk"))
    copies = Counter(dict(linked.values_list("event", "n")))
    kept = []
    for letter, event in entries:
        if copies[event.pk] + copies[event.repeat_of_id] < MOST_COPIES or (event.pk in new and not copies[event.pk]):
            copies[event.pk] += 1
            kept.append((letter, event))
    if len(kept) < len(entries):
        surplus = {letter.pk for letter, _ in entries} - {letter.pk for letter, _ in kept}
        Delivery.objects.filter(pk__in=surplus).delete()
    return kept


class _Book:
    """The newest event of every subject these letters are about; knows which letter joins and which makes a new one."""

    def __init__(self, letters: list[Letter]) -> None:
        self.made: list[Event] = []
        self._newest: dict[Subject, Event] = {}
        self._recovered: dict[tuple[int, str], Event] = {}
        connections = {pk for letter in letters for pk in letter.connections}
        inspections = {letter.hint.inspection_id for letter in letters}
        of_these = Event.objects.filter(connection__in=connections, inspection_id__in=inspections).order_by()
        named = of_these.filter(type__in={letter.hint.type for letter in letters})
        subjects = named.values("connection", "inspection_id", "type", "review_id").annotate(newest=Max("pk"))
        for event in self._read(subjects.values_list("newest", flat=True)):
            self._newest[_subject(event)] = event
        recent = of_these.filter(recovered=True, received_at__gt=timezone.now() - REPEATS_WITHIN)
        for event in self._read(recent.values("connection", "inspection_id").annotate(n=Max("pk")).values("n")):
            self._recovered[event.connection_id, event.inspection_id] = event

    def enter(self, letter: Letter, connection: int) -> Event:
        """The event that this letter belongs to: an older one, or one that will be made."""
        hint = letter.hint
        subject = (connection, hint.inspection_id, hint.type, hint.review_id)
        newest = self._newest.get(subject)
        repeat_of = None
        if newest is not None and newest.body_sha256 == letter.body_sha256:
            if newest.look_up_is_to_come:
                return newest
            if newest.is_open or letter.received_at - newest.received_at <= REPEATS_WITHIN:
                if not _can_look_up(hint.inspection_id):
                    return newest
                repeat_of = newest
        if repeat_of is None and _can_look_up(hint.inspection_id):
            repeat_of = self._recovered.get((connection, hint.inspection_id))
        event = Event(
            connection_id=connection,
            type=hint.type,
            inspection_id=hint.inspection_id,
            review_id=hint.review_id,
            company_id=hint.company_id,
            body_sha256=letter.body_sha256,
            received_at=letter.received_at,
            repeat_of=repeat_of,
            next_attempt_at=letter.received_at + (SETTLES if repeat_of else timedelta()),
        )
        self.made.append(event)
        self._newest[subject] = event
        return event

    @staticmethod
    def _read(pks: Any) -> Iterator[Event]:
        return iter(Event.objects.filter(pk__in=pks).defer("content"))


def _subject(event: Event) -> Subject:
    return event.connection_id, event.inspection_id, event.type, event.review_id


def _can_look_up(inspection_id: str) -> bool:
    return bool(inspection_id and settings.SNAPINSPECT_INSPECTION_PATH)

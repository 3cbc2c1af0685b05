"""A filter of a customer's events: the same for the list, its CSV file and a replay of many.

Reading is bounded, however many events there are. The newest first are those that came last, and a place in the list
is an event, not a number: new events do not shift it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.db.models import Max, Min, OuterRef, QuerySet, Subquery

from accounts.models import Customer
from integrations.models import Connection, Event, State

CHUNK = 500
# In place of one state: all that are not finished.
WAITING = "waiting"

# The position of an event in a list: when it came and, among those of one moment, its id.
Place = tuple[datetime, int]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The parameters of an address, by their names there; empty means any.

    q: inspection ID. connection: its code. since, until: days in `zone`, both included. zone: the visitor's own, no
    parameter of an address; empty means UTC.
    """

    q: str = ""
    state: str = ""
    type: str = ""
    connection: str = ""
    since: date | None = None
    until: date | None = None
    zone: str = ""

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Selection":
        """The inverse of `plain`."""
        days = {name: date.fromisoformat(plain[name]) for name in ("since", "until") if plain.get(name)}
        return cls(**{**plain, **days})

    @property
    def plain(self) -> dict[str, str]:
        """What is set, as text, fit for a JSON column."""
        return {name: str(value) for name, value in asdict(self).items() if value}

    @property
    def query(self) -> str:
        """The query of an address."""
        return urlencode({name: value for name, value in self.plain.items() if name != "zone"})

    def of(self, customer: Customer, *, to_replay: bool = False) -> "Matching":
        """This customer's events that match.

        to_replay: without those of disconnected connections, which cannot be processed, and without ignored ones,
        unless `state` asks for them.
        """
        connections = Connection.objects.filter(customer=customer)
        if to_replay:
            connections = connections.exclude(state=State.DISCONNECTED)
        if self.connection:
            connections = connections.filter(code=self.connection)
        events = Event.objects.shown()
        if self.q:
            events = events.filter(inspection_id=self.q)
        if self.state == WAITING:
            events = events.open()
        elif self.state:
            events = events.filter(state=self.state)
        if to_replay and self.state != Event.State.IGNORED:
            events = events.exclude(state=Event.State.IGNORED)
        if self.type:
            events = events.filter(type=self.type)
        zone = ZoneInfo(self.zone or "UTC")
        if self.since:
            events = events.filter(received_at__gte=datetime.combine(self.since, time.min, zone))
        if self.until:
            events = events.filter(received_at__lt=datetime.combine(self.until + timedelta(days=1), time.min, zone))
        return Matching(events, list(connections.values_list("pk", flat=True)))


def fingerprint(shown: object) -> str:
    """A short hash: a page that reloads a part of itself is told when nothing has changed."""
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


class Matching:
    """A customer's events that match a selection."""

    def __init__(self, events: "QuerySet[Event]", connections: list[int]) -> None:
        self._events = events
        self.connections = connections

    @property
    def rows(self) -> "QuerySet[Event]":
        """All of them, unordered and unbounded."""
        if len(self.connections) == 1:
            return self._events.filter(connection=self.connections[0]).order_by()
        return self._events.filter(connection__in=self.connections).order_by()

    def until(self, last_event: int) -> "Matching":
        """Without events later than this one."""
        return Matching(self._events.filter(pk__lte=last_event), self.connections)

    def newest(self, count: int, *, before: Place | None = None) -> list[Event]:
        """The newest, or the newest of those that come after `before` in the list; newest first."""
        events = self._events.order_by("-received_at", "-pk")
        if before is not None:
            moment, pk = before
            events = events.filter(received_at__lte=moment).exclude(received_at=moment, pk__gte=pk)
        return self._first(events, count, newest_first=True)

    def oldest(self, count: int, *, after: Place | None = None) -> list[Event]:
        """The oldest, or the oldest of those that stand before `after` in the list; oldest first."""
        events = self._events.order_by("received_at", "pk")
        if after is not None:
            moment, pk = after
            events = events.filter(received_at__gte=moment).exclude(received_at=moment, pk__lte=pk)
        return self._first(events, count, newest_first=False)

    def each(self) -> Iterator[Event]:
        """Every one, newest first, read in chunks: no transaction and no cursor is open in between."""
        last = None
        while chunk := self.newest(CHUNK, before=last):
            yield from chunk
            last = chunk[-1].place

    def count(self, most: int) -> int:
        """How many; most + 1 stands for more than `most`."""
        return self.rows[: most + 1].count()

    def _first(self, events: "QuerySet[Event]", count: int, *, newest_first: bool) -> list[Event]:
        if len(self.connections) > 1:
            # The index has each connection's events in order; for several connections, a database would read and sort
            # all of them. A connection with `count` events of its own limits how far to read.
            own = events.filter(connection=OuterRef("pk")).values("received_at")[count - 1 : count]
            reached = Connection.objects.filter(pk__in=self.connections).annotate(reached=Subquery(own))
            far = reached.aggregate(far=Max("reached") if newest_first else Min("reached"))["far"]
            if far is not None:
                events = events.filter(**{"received_at__gte" if newest_first else "received_at__lte": far})
            events = events.filter(connection__in=self.connections)
        else:
            events = events.filter(connection__in=self.connections[:1])
        return list(events.defer("content").prefetch_related("connection")[:count])

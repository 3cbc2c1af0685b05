"""Which of a customer's events somebody means: the same filter for the list, for its file and for a replay of many.

Reading is bounded, however many events there are. The newest first are those that came last, and a place in the list
is an event, not a number: what comes in meanwhile shifts nothing.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import urlencode

from django.db.models import Max, Min, OuterRef, QuerySet, Subquery

from accounts.models import Customer
from integrations.models import Connection, Event

CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the address says; empty means any. The names are those in the address.

    q: inspection ID. connection: its code. since, until: days in UTC, both included.
    """

    q: str = ""
    state: str = ""
    type: str = ""
    connection: str = ""
    since: date | None = None
    until: date | None = None

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Selection":
        """What `plain` has made, fit for a JSON column, as it was."""
        days = {name: date.fromisoformat(plain[name]) for name in ("since", "until") if plain.get(name)}
        return cls(**{**plain, **days})

    @property
    def plain(self) -> dict[str, str]:
        """What is set, in plain words."""
        return {name: str(value) for name, value in asdict(self).items() if value}

    @property
    def query(self) -> str:
        """The query of an address that means the same."""
        return urlencode(self.plain)

    def of(self, customer: Customer) -> "Matching":
        """This customer's events that match."""
        connections = Connection.objects.filter(customer=customer)
        if self.connection:
            connections = connections.filter(code=self.connection)
        events = Event.objects.shown()
        if self.q:
            events = events.filter(inspection_id=self.q)
        if self.state:
            events = events.filter(state=self.state)
        if self.type:
            events = events.filter(type=self.type)
        if self.since:
            events = events.filter(received_at__gte=datetime.combine(self.since, time.min, UTC))
        if self.until:
            events = events.filter(received_at__lte=datetime.combine(self.until, time.max, UTC))
        return Matching(events, list(connections.values_list("pk", flat=True)))


class Matching:
    """A customer's events that match a selection."""

    def __init__(self, events: "QuerySet[Event]", connections: list[int]) -> None:
        self._events = events
        self._connections = connections

    @property
    def rows(self) -> "QuerySet[Event]":
        """All of them, unordered and unbounded."""
        if len(self._connections) == 1:
            return self._events.filter(connection=self._connections[0]).order_by()
        return self._events.filter(connection__in=self._connections).order_by()

    def newest(self, count: int, *, before: Event | None = None) -> list[Event]:
        """The newest, or the newest of those that come after `before` in the list; newest first."""
        events = self._events.order_by("-received_at", "-pk")
        if before is not None:
            events = events.filter(received_at__lte=before.received_at).exclude(
                received_at=before.received_at, pk__gte=before.pk
            )
        return self._first(events, count, newest_first=True)

    def oldest(self, count: int, *, after: Event | None = None) -> list[Event]:
        """The oldest, or the oldest of those that stand before `after` in the list; oldest first."""
        events = self._events.order_by("received_at", "pk")
        if after is not None:
            events = events.filter(received_at__gte=after.received_at).exclude(
                received_at=after.received_at, pk__lte=after.pk
            )
        return self._first(events, count, newest_first=False)

    def each(self) -> Iterator[Event]:
        """Every one, newest first, read in chunks: no transaction and no cursor is open in between."""
        last = None
        while chunk := self.newest(CHUNK, before=last):
            yield from chunk
            last = chunk[-1]

    def count(self, most: int) -> int:
        """How many; most + 1 stands for more than `most`."""
        return self.rows[: most + 1].count()

    def _first(self, events: "QuerySet[Event]", count: int, *, newest_first: bool) -> list[Event]:
        if len(self._connections) > 1:
            # An index holds one connection's events in order, and a database would fetch and sort those of several:
            # all of them. Who has `count` of their own shows how far to look.
            own = events.filter(connection=OuterRef("pk")).values("received_at")[count - 1 : count]
            reached = Connection.objects.filter(pk__in=self._connections).annotate(reached=Subquery(own))
            far = reached.aggregate(far=Max("reached") if newest_first else Min("reached"))["far"]
            if far is not None:
                events = events.filter(**{"received_at__gte" if newest_first else "received_at__lte": far})
            events = events.filter(connection__in=self._connections)
        else:
            events = events.filter(connection__in=self._connections[:1])
        return list(events.defer("content").prefetch_related("connection")[:count])

"""A customer's figures of the last thirty days, counted by the database from one index, however many events there are.

Days are those of the time zone that is active: the visitor's, where their browser has told it.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery, Value
from django.utils import timezone

from accounts.models import AuditEntry
from integrations.models import Connection, Event

DAYS = 30
_STATE = Event.State
# SQLite walks the index only when it is told every state.
_EVERY_STATE = list(_STATE)


@dataclass
class Day:
    """What arrived on one day, by what has become of it since."""

    date: date
    by_state: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.by_state.total()

    @property
    def failed(self) -> int:
        return self.by_state[_STATE.FAILED]

    @property
    def waiting(self) -> int:
        return sum(self.by_state[state] for state in Event.OPEN)

    @property
    def processed(self) -> int:
        """Done, or at its end in another way than by failing."""
        return self.total - self.failed - self.waiting


@dataclass(frozen=True)
class Numbers:
    """`waiting` and `oldest_waiting` count whatever waits, however old; the rest is about the days alone."""

    days: list[Day]
    by_connection: Counter[int]
    waiting: int
    oldest_waiting: Event | None

    @property
    def by_state(self) -> Counter[str]:
        return sum((day.by_state for day in self.days), Counter())

    @property
    def total(self) -> int:
        return sum(day.total for day in self.days)

    @property
    def failed(self) -> int:
        return sum(day.failed for day in self.days)


def of(connections: Collection[Connection]) -> Numbers:
    """The figures of these connections. Two queries, three when something waits."""
    ids = [connection.pk for connection in connections]
    days, by_connection = _by_day(ids)
    waiting = Event.objects.shown().open().filter(connection__in=ids)
    count = waiting.count()
    oldest = waiting.select_related("connection").order_by("received_at", "pk").first() if count else None
    return Numbers(days, by_connection, count, oldest)


def events_of_the_last_days(connections: Collection[Connection]) -> Counter[int]:
    """How many events arrived in the last thirty days, by connection id. One query."""
    return _by_day([connection.pk for connection in connections])[1]


def with_history(connections: "QuerySet[Connection]") -> "QuerySet[Connection]":
    """The same, with `last_event_at`, and `disconnected_by`: the address of who disconnected it last."""
    newest = Event.objects.shown().filter(connection=OuterRef("pk")).order_by("-received_at", "-pk")
    partings = AuditEntry.objects.filter(
        customer=OuterRef("customer"), subject=OuterRef("code"), kind="connection.disconnected"
    ).order_by("-at", "-pk")
    return connections.annotate(  # type: ignore[no-redef]  # declared there for readers
        last_event_at=Subquery(newest.values("received_at")[:1]),
        disconnected_by=Subquery(partings.values("actor_name")[:1]),
    )


def _by_day(connection_ids: list[int]) -> tuple[list[Day], Counter[int]]:
    today = timezone.localdate()
    days = [Day(today - timedelta(days=DAYS - 1 - number)) for number in range(DAYS)]
    by_connection: Counter[int] = Counter()
    if not connection_ids:
        return days, by_connection
    # A query per day, sent as one: a function of the time, to group by, would be called for every single row.
    counts = [_count(number, day.date, connection_ids) for number, day in enumerate(days)]
    for row in counts[0].union(*counts[1:], all=True):
        days[row["day"]].by_state[row["state"]] += row["events"]
        by_connection[row["connection_id"]] += row["events"]
    return days, by_connection


def _count(number: int, day: date, connection_ids: list[int]) -> "QuerySet[Event, Any]":
    return (
        Event.objects.shown()
        .order_by()
        .filter(
            connection__in=connection_ids,
            state__in=_EVERY_STATE,
            received_at__gte=_midnight(day),
            received_at__lt=_midnight(day + timedelta(days=1)),
        )
        .values("connection_id", "state")
        .annotate(day=Value(number), events=Count("*"))
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=timezone.get_current_timezone())

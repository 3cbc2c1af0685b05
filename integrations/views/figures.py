"""A customer's figures of the last DAYS days, counted by the database from one index, however many events there are.

Days are those of the time zone that is active: the visitor's, where their browser has told it.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from functools import cached_property, lru_cache
from typing import Any

from django.db import connection as database
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from integrations.models import Connection, Event

DAYS = 30
_STATE = Event.State
# SQLite walks the index only when it is told every state.
_EVERY_STATE = [state.value for state in _STATE]
# In place of a day's number, for what is counted whatever its day.
_NO_DAY = -1
# Built once, not for every page: that takes longer than the query.
_LAST_EVENT_AT = Subquery(
    Event.objects.shown().filter(connection=OuterRef("pk")).order_by("-received_at", "-pk").values("received_at")[:1]
)


@dataclass(frozen=True)
class Day:
    """What arrived on one day, by the state it has now. Its sums are cached: read them when all of it is counted."""

    date: date
    by_state: Counter[str] = field(default_factory=Counter)

    @cached_property
    def total(self) -> int:
        return self.by_state.total()

    @cached_property
    def failed(self) -> int:
        return self.by_state[_STATE.FAILED]

    @cached_property
    def waiting(self) -> int:
        return sum(self.by_state[state] for state in Event.OPEN)

    @cached_property
    def processed(self) -> int:
        """Finished in any way but failed."""
        return self.total - self.failed - self.waiting


@dataclass(frozen=True)
class Figures:
    """`waiting` and `oldest_waiting` are about all that waits, however old; the rest about the days alone."""

    days: list[Day]
    by_connection: Counter[int]
    waiting: int
    _ids: list[int]

    @cached_property
    def oldest_waiting(self) -> Event | None:
        """One query, if something waits."""
        waiting = Event.objects.shown().open().filter(connection__in=self._ids)
        return waiting.select_related("connection").order_by("received_at", "pk").first() if self.waiting else None

    @property
    def by_state(self) -> Counter[str]:
        return sum((day.by_state for day in self.days), Counter())

    @property
    def since(self) -> str:
        """The first day, as the filter of the events page takes it."""
        return self.days[0].date.isoformat()

    @cached_property
    def total(self) -> int:
        return sum(day.total for day in self.days)

    @cached_property
    def failed(self) -> int:
        return sum(day.failed for day in self.days)


def of(connections: Collection[Connection]) -> Figures:
    """The figures of these connections. One query."""
    ids = [connection.pk for connection in connections]
    return Figures(*_counted(ids), ids)


def events_by_connection(connections: Collection[Connection]) -> Counter[int]:
    """How many events arrived in these days, by connection id. One query."""
    return _counted([connection.pk for connection in connections])[1]


def with_last_event(connections: "QuerySet[Connection]") -> "QuerySet[Connection]":
    """The same, with `last_event_at`."""
    return connections.annotate(last_event_at=_LAST_EVENT_AT)  # type: ignore[no-redef]  # declared there for readers


def _counted(connection_ids: list[int]) -> tuple[list[Day], Counter[int], int]:
    """The days, the events of each connection within them, and how many events wait now, however old."""
    today, zone = timezone.localdate(), timezone.get_current_timezone()
    days = [Day(today - timedelta(days=DAYS - 1 - number)) for number in range(DAYS)]
    by_connection: Counter[int] = Counter()
    waiting = 0
    if connection_ids:
        with database.cursor() as cursor:
            cursor.execute(*_statement(_days(today, zone), connection_ids))
            for number, connection, state, events in cursor.fetchall():
                if number == _NO_DAY:
                    waiting += events
                else:
                    days[number].by_state[state] += events
                    by_connection[connection] += events
    return days, by_connection, waiting


@lru_cache(maxsize=64)
def _days(today: date, zone: tzinfo) -> str:
    """The days until today as SQL: rows of number, begin and end. As text, since a driver spends more on ninety values
    than the database on the answer."""
    received_at = Event._meta.get_field("received_at")
    kind = "::timestamptz" if database.vendor == "postgresql" else ""
    midnights = [_midnight(today - timedelta(days=back), zone) for back in range(DAYS - 1, -2, -1)]
    moments = [f"'{received_at.get_db_prep_value(midnight, database)}'{kind}" for midnight in midnights]
    return ", ".join(f"({number}, {moments[number]}, {moments[number + 1]})" for number in range(DAYS))


def _statement(days: str, connection_ids: list[int]) -> tuple[str, list[Any]]:
    """Written by hand, with the days as a table: grouping by a function of the time would call it for every row, and
    building a union of one ORM query per day took longer than answering it."""
    mine, every, still_open = (
        f"({', '.join(['%s'] * len(values))})" for values in (connection_ids, _EVERY_STATE, Event.OPEN)
    )
    # CROSS JOIN has SQLite take the days first, and look each of them up in the index.
    return (
        f"WITH days (number, begins, ends) AS (VALUES {days})"  # noqa: S608
        " SELECT number, connection_id, state, count(*) FROM days CROSS JOIN integrations_event"
        f" WHERE connection_id IN {mine} AND state IN {every} AND repeat_of_id IS NULL"
        " AND received_at >= begins AND received_at < ends GROUP BY number, connection_id, state"
        f" UNION ALL SELECT {_NO_DAY}, connection_id, state, count(*) FROM integrations_event"
        f" WHERE connection_id IN {mine} AND state IN {still_open} AND repeat_of_id IS NULL"
        " GROUP BY connection_id, state",
        [*connection_ids, *_EVERY_STATE, *connection_ids, *Event.OPEN],
    )


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time.min, tzinfo=zone)

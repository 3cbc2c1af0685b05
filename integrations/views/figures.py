"""A customer's figures of the last DAYS days, counted by the database from one index, however many events there are.

Days are those of the time zone that is active: the visitor's, where their browser has told it.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from django.db import connection as database
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from integrations.models import Connection, Event

DAYS = 30
_STATE = Event.State
# SQLite walks the index only when it is told every state.
_EVERY_STATE = [state.value for state in _STATE]
# Which of a day's counts, in the order of `Day`, an event of this state is in.
_FIELD = dict.fromkeys(_EVERY_STATE, 0) | dict.fromkeys(Event.OPEN, 1) | {_STATE.FAILED: 2}
# In place of a day's number, for what is counted whatever its day.
_NO_DAY = -1
# Built once, not for every page: that takes longer than the query.
_LAST_EVENT_AT = Subquery(
    Event.objects.shown().filter(connection=OuterRef("pk")).order_by("-received_at", "-pk").values("received_at")[:1]
)


class Day(NamedTuple):
    """What arrived on one day, by the state it has now. processed: finished in any way but failed."""

    date: date
    processed: int = 0
    waiting: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        return self.processed + self.waiting + self.failed


@dataclass(frozen=True)
class Figures:
    """`waiting` and `oldest_waiting` are about all that waits, however old; the rest about the days alone."""

    days: list[Day]
    by_state: Counter[str]
    by_connection: Counter[int]
    waiting: int
    _ids: list[int]

    @cached_property
    def oldest_waiting(self) -> Event | None:
        """One query, if something waits."""
        waiting = Event.objects.shown().open().filter(connection__in=self._ids)
        return waiting.select_related("connection").order_by("received_at", "pk").first() if self.waiting else None

    @property
    def since(self) -> str:
        """The first day, as the filter of the events page takes it."""
        return self.days[0].date.isoformat()

    @property
    def total(self) -> int:
        return self.by_state.total()

    @property
    def failed(self) -> int:
        return self.by_state[_STATE.FAILED]


def of(connections: Collection[Connection]) -> Figures:
    """The figures of these connections. One query."""
    ids = [connection.pk for connection in connections]
    today, zone = timezone.localdate(), timezone.get_current_timezone()
    counts = [[0, 0, 0] for _ in range(DAYS)]
    by_state: Counter[str] = Counter()
    by_connection: Counter[int] = Counter()
    waiting = 0
    if ids:
        with database.cursor() as cursor:
            cursor.execute(*_statement(_days(today, zone), ids))
            for number, connection, state, events in cursor.fetchall():
                if number == _NO_DAY:
                    waiting += events
                else:
                    counts[number][_FIELD[state]] += events
                    by_state[state] += events
                    by_connection[connection] += events
    days = [Day(today - timedelta(days=DAYS - 1 - number), *count) for number, count in enumerate(counts)]
    return Figures(days, by_state, by_connection, waiting, ids)


def events_by_connection(connections: Collection[Connection]) -> Counter[int]:
    """How many events arrived in these days, by connection id. One query."""
    return of(connections).by_connection


def with_last_event(connections: "QuerySet[Connection]") -> "QuerySet[Connection]":
    """The same, with `last_event_at`."""
    return connections.annotate(last_event_at=_LAST_EVENT_AT)  # type: ignore[no-redef]  # declared there for readers


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

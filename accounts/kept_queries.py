"""Querysets and updates whose SQL is written once in a process, or before the transaction that needs it.

Writing a queryset's SQL takes Django longer than the database takes to answer it, and the same few are asked for every
page and every check. Here the text is kept, with what Django worked out to read the answer.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models.sql import UpdateQuery
from django.db.transaction import mark_for_rollback_on_error
from django.utils.duration import duration_microseconds

Row = TypeVar("Row", bound=models.Model)
# Stands for the ID while the SQL is written. No other value of a queryset is this large.
_PLACE = 7_205_759_403_792_793
# Stand for the duration and the text that a call of a KeptUpdate gives.
WAIT = timedelta(microseconds=_PLACE + 1)
TEXT = f"text {_PLACE}"
_WAIT_IN_SQLITE = duration_microseconds(WAIT)  # which has no durations


class KeptQuery(Generic[Row]):
    """Calling it with an ID returns the rows of `queryset(ID)`.

    All else in the queryset is kept, too: it may hold the database's Now(), and no moment, setting or person. It may
    select related rows and annotations; what it prefetches is not fetched.
    """

    def __init__(self, queryset: "Callable[[int], models.QuerySet[Row]]") -> None:
        self._queryset = queryset

    def __call__(self, id: int) -> list[Row]:
        return list(models.QuerySet(self._written.model, query=self._written.asked(id), using=DEFAULT_DB_ALIAS))

    @cached_property
    def _written(self) -> "_Written":
        return _Written.of(self._queryset(_PLACE))


def written(queryset: "models.QuerySet[Row]") -> "models.QuerySet[Row]":
    """The same rows, by SQL that is written now: evaluated within a transaction, it takes the database's time alone.

    As a KeptQuery, it yields model instances, and fetches nothing ahead.
    """
    try:
        query = _Written.of(queryset).asked(_PLACE)
    except EmptyResultSet:
        return queryset.none()
    return models.QuerySet(queryset.model, query=query, using=DEFAULT_DB_ALIAS)


class KeptUpdate:
    """Calling it with an ID makes these changes in the rows of `queryset(ID)`, and returns how many there were.

    For a conditional UPDATE of rows that are not in memory. WAIT in a change is the duration that the call gives, and
    TEXT, as a whole value, its text; TypeError for one that it does not give. All else is kept, as in a KeptQuery.
    """

    def __init__(self, queryset: "Callable[[int], models.QuerySet[Any]]", **changes: Any) -> None:
        self._queryset, self._changes = queryset, changes

    def __call__(self, id: int, wait: timedelta | None = None, text: str | None = None) -> int:
        sql, parameters = self._written
        given: dict[Any, Any] = {_PLACE: id}
        if text is not None:
            given[TEXT] = text
        if wait is not None:
            given |= {WAIT: wait, _WAIT_IN_SQLITE: duration_microseconds(wait)}
        values = [given.get(value, value) for value in parameters]
        if not {TEXT, WAIT, _WAIT_IN_SQLITE}.isdisjoint(values):
            raise TypeError("This update needs a duration or a text.")
        # As QuerySet.update: who swallows its error does not commit the rest of the transaction.
        with mark_for_rollback_on_error(DEFAULT_DB_ALIAS), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute(sql, values)
            return int(cursor.rowcount)

    @cached_property
    def _written(self) -> tuple[str, tuple[Any, ...]]:
        query: Any = self._queryset(_PLACE).query.chain(UpdateQuery)
        query.add_update_values(self._changes)
        sql, parameters = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()
        return sql, tuple(parameters)


@dataclass(frozen=True)
class _Written:
    """A queryset's SQL, and the compiler that wrote it and knows which column is what."""

    model: type[Any]
    compiler: Any
    sql: str
    parameters: tuple[Any, ...]
    converters: dict[int, Any]

    @classmethod
    def of(cls, queryset: "models.QuerySet[Any]") -> "_Written":
        compiler = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        converters = compiler.get_converters([selected[0] for selected in compiler.select])
        return cls(queryset.model, compiler, sql, tuple(parameters), converters)

    def asked(self, id: int) -> Any:
        """In place of the queryset's query: all that evaluating it needs of one is a compiler."""
        compiler = copy(self.compiler)
        compiler.connection = connections[DEFAULT_DB_ALIAS]  # of this thread
        parameters = tuple(id if value == _PLACE else value for value in self.parameters)
        compiler.as_sql = lambda: (self.sql, parameters)
        compiler.get_converters = lambda _: self.converters
        return _Query(compiler)


@dataclass(frozen=True)
class _Query:
    compiler: Any

    def get_compiler(self, using: str) -> Any:
        return self.compiler

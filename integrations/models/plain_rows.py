"""Writes many rows of plain values in one statement, without a model instance for each.

The values are one parameter, a JSON text. With a parameter for each value the driver looks for thousands of
placeholders; with a statement for each row PostgreSQL plans each of them.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from django.db import connection as database
from django.db import models
from django.db.models import NOT_PROVIDED
from django.utils.duration import duration_microseconds

Row = tuple[Any, ...]


Model = TypeVar("Model", bound=models.Model)


class PlainRowsQuerySet(models.QuerySet[Model]):
    """For tables that get many rows at once."""

    def insert(self, *columns: str, rows: Iterable[Row], returning: str = "") -> list[Row]:
        """Inserts rows with values for these columns; the others get their defaults.

        Skips rows that exist already. returning: columns to return instead, then every row has to be a new one.
        """
        model = self.model
        rows = list(rows)
        if not rows:
            return []
        constants = {column: field.get_default() for column, field in _others(model, columns)}
        constants = {column: default for column, default in constants.items() if default is not None}
        placeholders = ["%s"] * len(constants)
        selected = ", ".join([*(f"plain.{column}" for column in columns), *placeholders])
        ending = f"RETURNING {returning}" if returning else "ON CONFLICT DO NOTHING"
        with database.cursor() as cursor:
            # SQLite takes the ON of ON CONFLICT for a join's, but for the WHERE.
            cursor.execute(
                f"INSERT INTO {model._meta.db_table} ({', '.join([*columns, *constants])})"  # noqa: S608
                f" SELECT {selected} FROM {as_table(model, columns)} WHERE true {ending}",
                [*constants.values(), as_json(columns, rows)],
            )
            return cursor.fetchall() if returning else []


def as_table(model: type[models.Model], columns: Sequence[str]) -> str:
    """SQL of a table `plain` with these columns of the model's, whose one parameter is made by `as_json`."""
    if database.vendor == "postgresql":
        # Types without lengths: a cast would truncate.
        types = {
            field.column: (field.db_type(database) or "").partition("(")[0] for field in model._meta.concrete_fields
        }
        return f"json_to_recordset(%s) AS plain ({', '.join(f'{column} {types[column]}' for column in columns)})"
    values = ", ".join(f"json_extract(value, '$.{column}') AS {column}" for column in columns)
    return f"(SELECT {values} FROM json_each(%s)) AS plain"  # noqa: S608


def now() -> str:
    """SQL of this moment, as Django's Now() writes it."""
    return "statement_timestamp()" if database.vendor == "postgresql" else "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"


def as_json(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """The parameter of `as_table`."""
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], default=_as_plain)


def _as_plain(value: datetime | timedelta) -> str | int:
    """As the database reads it from a text, or, for SQLite's durations, a number."""
    if isinstance(value, timedelta):
        microseconds = duration_microseconds(value)
        return f"{microseconds} microseconds" if database.features.has_native_duration_field else microseconds
    return str(database.ops.adapt_datetimefield_value(value))


@cache
def _others(model: type[models.Model], given: Sequence[str]) -> list[tuple[str, models.Field[Any, Any]]]:
    """The other columns whose defaults are Django's, not the database's."""
    return [
        (str(field.column), field)
        for field in model._meta.concrete_fields
        if field.column not in given and not field.primary_key and field.db_default is NOT_PROVIDED
    ]

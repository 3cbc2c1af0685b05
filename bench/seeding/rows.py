"""Bulk inserts: COPY on PostgreSQL, executemany on SQLite."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from django.db import connection as database
from django.db import models

# Codes made by accounts.models.new_code contain no vowel, no 0 and no 1, so none of them starts like this.
PREFIX = "s0"
DIGITS = 10
# The database driver takes the values of all other fields as they are.
CONVERTED_FIELDS = (models.DateTimeField, models.DurationField, models.JSONField)


def code(number: int) -> str:
    """The public code of the seeded row with this number."""
    return f"{PREFIX}{number:0{DIGITS}d}"


def next_number(model: type[models.Model]) -> int:
    """The number of the next seeded row of this model, read from the index of codes."""
    seeded = model._default_manager.filter(code__startswith=PREFIX).order_by("-code")
    last: str | None = seeded.values_list("code", flat=True).first()
    return int(last.removeprefix(PREFIX)) + 1 if last else 0


def reserve_ids(model: type[models.Model], count: int) -> list[int]:
    """Primary keys for new rows of this model, ascending.

    Insert the rows in the same transaction and before the next call: SQLite reserves nothing, its write lock is what
    keeps others away.
    """
    table = model._meta.db_table
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            cursor.execute(
                "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count]
            )
            return [pk for (pk,) in cursor.fetchall()]
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        last = cursor.fetchone()
        start = last[0] + 1 if last else 1
        return list(range(start, start + count))


def insert(instances: Sequence[models.Model]) -> None:
    """Inserts these instances of one model. Unlike `bulk_create` it keeps the values of `auto_now` fields."""
    if instances:
        fields = [
            field
            for field in instances[0]._meta.concrete_fields
            if instances[0].pk is not None or not field.primary_key
        ]
        values_of = attrgetter(*(field.attname for field in fields))
        insert_values(type(instances[0]), *(field.name for field in fields), values=map(values_of, instances))


def insert_values(model: type[models.Model], *names: str, values: Iterable[tuple[Any, ...]]) -> None:
    """Inserts rows of this model from the values of these fields, without making instances."""
    fields = [model._meta.get_field(name) for name in names]
    converted = [index for index, field in enumerate(fields) if isinstance(field, CONVERTED_FIELDS)]

    def prepared(row: tuple[Any, ...]) -> list[Any]:
        cells = list(row)
        for index in converted:
            cells[index] = fields[index].get_db_prep_save(cells[index], database)  # type: ignore[union-attr]
        return cells

    table, columns = model._meta.db_table, ", ".join(str(field.column) for field in fields)  # type: ignore[union-attr]
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in values:
                    copy.write_row(prepared(row))
        else:
            placeholders = ", ".join(["%s"] * len(fields))
            cursor.executemany(
                f"INSERT INTO {table} ({columns}) VALUES ({placeholders})", [prepared(row) for row in values]
            )

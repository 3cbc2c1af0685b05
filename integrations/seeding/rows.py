"""Writing many rows at once, just as they stand in their objects."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from django.db import connection as database
from django.db import models

# Real codes are without vowels, 0 and 1 (accounts.models.new_code): these can be told apart, and meet none of them.
PREFIX = "s0"
DIGITS = 10
# Kinds of values that each database spells in its own way; the others go as they are.
SPELLED = (models.DateTimeField, models.DurationField, models.JSONField)


def code(number: int) -> str:
    """The public code of the row with this number."""
    return f"{PREFIX}{number:0{DIGITS}d}"


def following(model: type[models.Model]) -> int:
    """The number of the next seeded row of this kind. Read from the index of codes."""
    seeded = model._default_manager.filter(code__startswith=PREFIX).order_by("-code")
    last: str | None = seeded.values_list("code", flat=True).first()
    return int(last.removeprefix(PREFIX)) + 1 if last else 0


def new_ids(model: type[models.Model], count: int) -> list[int]:
    """Primary keys for rows that others will point to, in ascending order.

    Call it in the transaction that writes them, and write them before the next call: SQLite's are reserved by nothing
    else than that nobody beside this transaction writes.
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


def write(made: Sequence[models.Model]) -> None:
    """Writes these objects, all of one kind: every column as it stands there, also those that fill in the time."""
    if made:
        fields = [field for field in made[0]._meta.concrete_fields if made[0].pk is not None or not field.primary_key]
        as_they_stand = attrgetter(*(field.attname for field in fields))
        write_plain(type(made[0]), *(field.name for field in fields), values=map(as_they_stand, made))


def write_plain(model: type[models.Model], *names: str, values: Iterable[tuple[Any, ...]]) -> None:
    """Writes rows of this kind from the values of these fields alone: what there are most of is no object first."""
    fields = [model._meta.get_field(name) for name in names]
    spelled = [place for place, field in enumerate(fields) if isinstance(field, SPELLED)]

    def as_stored(row: tuple[Any, ...]) -> list[Any]:
        cells = list(row)
        for place in spelled:
            cells[place] = fields[place].get_db_prep_save(cells[place], database)  # type: ignore[union-attr]
        return cells

    table, columns = model._meta.db_table, ", ".join(str(field.column) for field in fields)  # type: ignore[union-attr]
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in values:
                    copy.write_row(as_stored(row))
        else:
            places = ", ".join(["%s"] * len(fields))
            cursor.executemany(
                f"INSERT INTO {table} ({columns}) VALUES ({places})",  # noqa: S608
                [as_stored(row) for row in values],
            )

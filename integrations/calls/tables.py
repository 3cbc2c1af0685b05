"""Makes a table for people of an API answer, by dotted paths that the operator has defined.

A dotted path names what to take, step by step: `data.items` is the member "items" of the member "data", `items.0` the
first element of a list, `a\\.b` the member whose name holds a dot. `.` alone, or nothing, is the value itself.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

from integrations.snapinspect.json_answers import Json

MOST_ROWS = 50
MOST_COLUMNS = 12
LONGEST_LABEL = 60
LONGEST_CELL = 200
_LONGEST_STEP = 100
_MOST_STEPS = 20
_MOST_MEMBERS_NAMED = 8

# ISO 8601 with an offset. Without one the moment is unknown, and the text is shown unchanged.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)")
# Years that every calendar, browser and time zone handles.
_YEARS = range(1900, 2201)


class BadDefinition(ValueError):
    """An invalid path or column; the text says to its author what to change."""


class UnexpectedShape(Exception):
    """The answer does not have the shape that the paths say; the text says to staff where."""


class Column(NamedTuple):
    label: str
    steps: tuple[str, ...]
    path: str


class CellKind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    YES = "yes"
    NO = "no"
    NONE = "none"
    TIME = "time"
    JSON = "json"


class Cell(NamedTuple):
    kind: str
    text: str

    @property
    def at(self) -> datetime:
        """The moment of a TIME."""
        return datetime.fromisoformat(self.text)


@dataclass(frozen=True, slots=True)
class Table:
    """rows: the first MOST_ROWS of `total`. notes: for staff. whole: the whole answer as text, where it is shown."""

    labels: list[str]
    rows: list[list[Cell]]
    total: int
    notes: list[str]
    whole: str = ""

    @property
    def facts(self) -> list[tuple[str, Cell]]:
        """Label and value of the first row, for a table about one thing."""
        return list(zip(self.labels, self.rows[0], strict=True)) if self.rows else []

    @property
    def labelled_rows(self) -> list[list[tuple[str, Cell]]]:
        """The rows, each cell with its column's label."""
        return [list(zip(self.labels, row, strict=True)) for row in self.rows]

    def stored(self) -> dict[str, Any]:
        """Plain data for a JSON column; `restored` is the inverse."""
        rows = [[[str(cell.kind), cell.text] for cell in row] for row in self.rows]
        return {"labels": self.labels, "rows": rows, "total": self.total, "notes": self.notes, "whole": self.whole}

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> Self:
        return cls(**{**stored, "rows": [[Cell(*cell) for cell in row] for row in stored["rows"]]})


def parse_path(path: str) -> tuple[str, ...]:
    """The steps of a dotted path. Raises BadDefinition."""
    path = path.strip()
    if path in {"", "."}:
        return ()
    found = tuple(step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", path))
    if not all(found):
        raise BadDefinition(f"“{path}” has a dot too many: write names with one dot between them, such as data.items.")
    if len(found) > _MOST_STEPS or max(map(len, found)) > _LONGEST_STEP or not path.isprintable():
        raise BadDefinition(
            f"A path has at most {_MOST_STEPS} names of at most {_LONGEST_STEP} printable characters each."
        )
    return found


def parse_columns(text: str) -> list[Column]:
    """The columns in a text of one `Label: dotted.path` per line. Raises BadDefinition."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        label, colon, path = (part.strip() for part in line.rpartition(":"))
        if not colon or not label or not path:
            raise BadDefinition(
                f"“{line[:80]}” is not a column: write a label, a colon and a path, as in Status: sStatus."
            )
        if len(label) > LONGEST_LABEL:
            raise BadDefinition(f"The label “{label[:20]}…” is longer than {LONGEST_LABEL} characters.")
        found.append(Column(label, parse_path(path), path))
    if not found:
        raise BadDefinition("A panel needs at least one column, such as Status: sStatus.")
    if len(found) > MOST_COLUMNS:
        raise BadDefinition(f"A panel has at most {MOST_COLUMNS} columns; these are {len(found)}.")
    if len({column.label for column in found}) < len(found):
        raise BadDefinition("Two columns have the same label.")
    return found


def build_table(answer: Json, *, rows_at: str, shown: list[Column]) -> Table:
    """The rows found at that dotted path, in these columns. Raises UnexpectedShape."""
    found, missing = _walk(answer, parse_path(rows_at))
    if missing is not None:
        raise UnexpectedShape(f"“{rows_at}” ends at “{missing}”: what stands before it is {describe(found)}.")
    where = f"At “{rows_at}”" if parse_path(rows_at) else "The answer itself"
    if not isinstance(found, list):
        raise UnexpectedShape(f"{where} is {describe(found)}; a list of rows was expected.")
    met = [False] * len(shown)
    rows = []
    for row in found[:MOST_ROWS]:
        cells = []
        for number, column in enumerate(shown):
            value, missing = _walk(row, column.steps)
            met[number] |= missing is None
            cells.append(to_cell(value if missing is None else None))
        rows.append(cells)
    first = describe(found[0]) if found else ""
    notes = [
        f"No row holds “{column.path}” (column {column.label}); the first row is {first}."
        for column, was_met in zip(shown, met, strict=True)
        if rows and not was_met
    ]
    return Table([column.label for column in shown], rows, len(found), notes)


def to_cell(value: Json) -> Cell:
    """A value for people: its kind, and its text cut to LONGEST_CELL."""
    if value is None:
        return Cell(CellKind.NONE, "")
    if isinstance(value, bool):
        return Cell(CellKind.YES if value else CellKind.NO, "")
    if isinstance(value, int | float):
        return Cell(CellKind.NUMBER, _cut(str(value)))
    if isinstance(value, str):
        return Cell(CellKind.TIME, value) if _is_moment(value) else Cell(CellKind.TEXT, _cut(value))
    return Cell(CellKind.JSON, _cut(json.dumps(value, ensure_ascii=False, separators=(",", ":"))))


def describe(value: object) -> str:
    """What kind of value this is, in words for the author of the paths."""
    if isinstance(value, dict):
        names = ", ".join(f"“{_cut(str(name), 30)}”" for name in list(value)[:_MOST_MEMBERS_NAMED])
        more = f" and {len(value) - _MOST_MEMBERS_NAMED} more" if len(value) > _MOST_MEMBERS_NAMED else ""
        return f"an object with {names}{more}" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, bool):
        return "true or false"
    return "null" if value is None else "a number"


def _walk(value: Json, path: tuple[str, ...]) -> tuple[Json, str | None]:
    """The value at the end of the path and None; or the last value that exists, and the step that does not."""
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return value, step
    return value, None


def _is_moment(text: str) -> bool:
    if len(text) > 40 or _MOMENT.fullmatch(text) is None:
        return False
    try:
        return datetime.fromisoformat(text).year in _YEARS
    except ValueError:
        return False


def _cut(text: str, most: int = LONGEST_CELL) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

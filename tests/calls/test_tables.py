"""How values, dotted paths and rows of an answer become a table."""

from typing import Any

import pytest

from integrations.calls import tables

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Flat 2", ("text", "Flat 2")),
        ("", ("text", "")),
        (7, ("number", "7")),
        (1.5, ("number", "1.5")),
        (True, ("yes", "")),
        (False, ("no", "")),
        (None, ("none", "")),
        ("2026-11-24T10:00:00Z", ("time", "2026-11-24T10:00:00Z")),
        ("2026-11-24T10:00:00.123456+13:00", ("time", "2026-11-24T10:00:00.123456+13:00")),
        # Without an offset it is not a moment; nor is what only looks like one, or no calendar can hold.
        ("2026-11-24T10:00:00", ("text", "2026-11-24T10:00:00")),
        ("2026-11-24", ("text", "2026-11-24")),
        ("2026-13-99T10:00:00Z", ("text", "2026-13-99T10:00:00Z")),
        ("0001-01-01T00:00:00+14:00", ("text", "0001-01-01T00:00:00+14:00")),
        ({"a": [1, None]}, ("json", '{"a":[1,null]}')),
        ([], ("json", "[]")),
        ("x" * 300, ("text", "x" * 199 + "…")),
        (10**99, ("number", "1" + "0" * 99)),
    ],
)
def test_each_kind_of_value_is_shown_as_people_read_it(value: Any, shown: tuple[str, str]) -> None:
    assert tables.to_cell(value) == shown


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("", ()),
        (".", ()),
        ("a", ("a",)),
        ("data.items.0", ("data", "items", "0")),
        (r"a\.b.c", ("a.b", "c")),
        ("Größe", ("Größe",)),
    ],
)
def test_a_dotted_path_is_names_with_dots_between_them(path: str, steps: tuple[str, ...]) -> None:
    assert tables.parse_path(path) == steps


def test_rows_are_found_and_shown_by_dotted_paths_and_what_a_row_lacks_is_a_dash() -> None:
    answer: Any = {"data": {"items": [{"n": {"v": [1, 2]}}, {"n": None}, {}, "odd", ["first"]]}}
    table = tables.build_table(answer, rows_at="data.items", shown=tables.parse_columns("V: n.v.1\nFirst: 0\nAll: ."))

    assert [row[0].text for row in table.rows] == ["2", "", "", "", ""]
    assert [row[1].text for row in table.rows] == ["", "", "", "", "first"]
    assert table.rows[3][2] == ("text", "odd")
    assert table.notes == []


def test_a_column_that_no_row_holds_is_named_to_staff_with_what_there_is_instead() -> None:
    table = tables.build_table([{"sTitle": "a"}], rows_at="", shown=tables.parse_columns("Name: sName"))
    assert table.notes == ["No row holds “sName” (column Name); the first row is an object with “sTitle”."]

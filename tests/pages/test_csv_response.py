"""No cell of a CSV file becomes a formula or another number, whichever character the spreadsheet splits at."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.views import csv_response

SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
IGNORED = " \t\r\n\u00a0\u3000\u200b\ufeff\"'"


def written(*cells: str) -> str:
    return "".join(csv_response.lines(["header"] * len(cells), [list(cells)])).removeprefix("\ufeff")


def formulas(text: str) -> list[str]:
    """The cells that a spreadsheet would calculate, for each character it may split at."""
    found = []
    for separator in ",;|\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            found += [cell for cell in row if cell.strip(IGNORED[:-1]).startswith(tuple(SIGNS))]
    return found


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize(
    "pattern",
    ["{}1+1", " {}1+1", "\u3000{}1+1", "\u200b{}1+1", "a;{}1+1", "a; {}1", 'a";{}1', "a|{}1", "a\t{}1", "a\n{}1"],
)
def test_no_cell_is_a_formula(sign: str, pattern: str) -> None:
    text = written("first", pattern.format(sign), "last")
    assert formulas(text) == []
    assert sign in text


@given(st.lists(st.text(alphabet=SIGNS + IGNORED + ";|,a1"), min_size=1, max_size=3))
def test_no_text_becomes_a_formula(cells: list[str]) -> None:
    assert formulas(written(*cells)) == []


def test_every_cell_is_quoted() -> None:
    assert written("a", "1", "") == '"header","header","header"\r\n"a","1",""\r\n'


@pytest.mark.parametrize("number", ["1234567890123456", "12345678901234567890"])
def test_an_id_that_a_spreadsheet_would_round_stays_text(number: str) -> None:
    assert written(number).endswith(f'"\'{number}"\r\n')


@pytest.mark.parametrize(
    "cell", ["6847", "123456789012345", "Harbour; Street 7", "2026-11-20T12:00:00Z", "a-b", "x = y"]
)
def test_what_is_harmless_is_not_changed(cell: str) -> None:
    assert f'"{cell}"' in written(cell)

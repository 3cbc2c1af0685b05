"""CSV files that are written while they are downloaded, and that no spreadsheet takes for formulas."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator

from django.http import HttpRequest, HttpResponseBase

from accounts.models import Customer
from integrations.views import downloads

# Without it Excel takes UTF-8 for the code page of the country it was sold in.
BYTE_ORDER_MARK = "\ufeff"
# What a spreadsheet would take for a formula (OWASP, CSV injection): at the start of a cell, and after a character that
# separates cells in other countries: Excel then splits within our quotes. Japanese Excel takes the wide signs too.
_FORMULA = re.compile(r"(\A|[;|\t\r\n])(?=[\s\u200b\u2060\ufeff\"']*[=+\-@\uff1d\uff0b\uff0d\uff20])|\A(?=[\t\r\n])")
# Excel keeps fifteen digits of a number.
_LONG_NUMBER = re.compile(r"\s*[0-9]{16,}\s*")


def download(
    request: HttpRequest,
    customer: Customer,
    filename: str,
    header: list[str],
    rows: Iterable[list[object]],
    *,
    record: Callable[[], object],
) -> HttpResponseBase:
    """A CSV file, see `downloads.stream`: `rows` had better be an iterator over the database's own."""
    return downloads.stream(
        request,
        customer,
        lines(header, rows),
        filename=filename,
        content_type="text/csv; charset=utf-8",
        record=record,
    )


def lines(header: list[str], rows: Iterable[list[object]]) -> Iterator[str]:
    """The lines of the file."""
    writer = csv.writer(_Line(), quoting=csv.QUOTE_ALL)
    yield BYTE_ORDER_MARK + writer.writerow(header)
    for row in rows:
        yield writer.writerow([_plain(str(cell)) for cell in row])


class _Line:
    """A file that csv writes to and that hands each line on."""

    def write(self, line: str) -> str:
        return line


def _plain(cell: str) -> str:
    """The cell with an apostrophe wherever a spreadsheet would begin a formula, or round an ID."""
    return f"'{cell}" if _LONG_NUMBER.fullmatch(cell) else _FORMULA.sub(r"\1'", cell)

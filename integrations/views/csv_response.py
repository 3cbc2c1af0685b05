"""CSV files that are written while they are downloaded, and that no spreadsheet takes for formulas."""

import csv
import re
from collections.abc import Iterable, Iterator

from django.http import StreamingHttpResponse

# Without it Excel takes UTF-8 for the code page of the country it was sold in.
BYTE_ORDER_MARK = "\ufeff"
# What a spreadsheet would take for a formula (OWASP, CSV injection): at the start of a cell, and after a character that
# separates cells in other countries: Excel then splits within our quotes. Japanese Excel takes the wide signs too.
_FORMULA = re.compile(r"(\A|[;|\t\r\n])(?=[\s\u200b\u2060\ufeff\"']*[=+\-@\uff1d\uff0b\uff0d\uff20])|\A(?=[\t\r\n])")
# Excel keeps fifteen digits of a number.
_LONG_NUMBER = re.compile(r"\s*[0-9]{16,}\s*")


def download(filename: str, header: list[str], rows: Iterable[list[object]]) -> StreamingHttpResponse:
    """A CSV file, sent row by row in constant memory: `rows` had better be an iterator over the database's own."""
    response = StreamingHttpResponse(_lines(header, rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


class _Line:
    """A file that csv writes to and that hands each line on."""

    def write(self, line: str) -> str:
        return line


def _lines(header: list[str], rows: Iterable[list[object]]) -> Iterator[str]:
    writer = csv.writer(_Line(), quoting=csv.QUOTE_ALL)
    yield BYTE_ORDER_MARK + writer.writerow(header)
    for row in rows:
        yield writer.writerow([_plain(str(cell)) for cell in row])


def _plain(cell: str) -> str:
    """The cell with an apostrophe wherever a spreadsheet would begin a formula, or round an ID."""
    return f"'{cell}" if _LONG_NUMBER.fullmatch(cell) else _FORMULA.sub(r"\1'", cell)

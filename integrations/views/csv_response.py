"""CSV files that are written while they are downloaded, and that no spreadsheet takes for formulas."""

import csv
from collections.abc import Iterable, Iterator

from django.http import StreamingHttpResponse

# Without it Excel takes UTF-8 for the code page of the country it was sold in.
BYTE_ORDER_MARK = "\ufeff"
# What a spreadsheet would take for a formula (OWASP, CSV injection).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


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
    writer = csv.writer(_Line())
    yield BYTE_ORDER_MARK + writer.writerow(header)
    for row in rows:
        yield writer.writerow([_plain(str(cell)) for cell in row])


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell

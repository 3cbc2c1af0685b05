"""Answers that are written while they are downloaded. A process writes few at a time (`calls.limits`)."""

from collections.abc import Callable, Iterable, Iterator

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render

from accounts.access import current_user
from accounts.models import Customer
from integrations.calls import limits

RETRY_AFTER = 10  # seconds


def stream(
    request: HttpRequest,
    customer: Customer,
    lines: Iterable[str],
    *,
    filename: str,
    content_type: str,
    record: Callable[[], object],
) -> HttpResponseBase:
    """The file, sent line by line in constant memory; 429 while another download of this person or customer runs.

    record: writes the entry of the audit trail, when the download begins.
    """
    try:
        slot = limits.download(current_user(request).pk, customer.pk)
    except limits.Busy:
        return _busy(request)
    record()
    response = StreamingHttpResponse(_Lines(lines, slot), content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


class _Lines:
    """The lines, and a slot that is free when they are through or the reader is gone."""

    def __init__(self, lines: Iterable[str], slot: limits.Slot) -> None:
        self._lines = iter(lines)
        self._slot = slot

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return next(self._lines)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """The server calls it when the answer ends, however it ends (PEP 3333)."""
        self._slot.release()


def _busy(request: HttpRequest) -> HttpResponse:
    response = render(request, "integrations/download_busy.html", status=429)
    response["Retry-After"] = str(RETRY_AFTER)
    return response

"""The door for SnapInspect's server: store what came, commit, answer 200, and nothing else.

SnapInspect tries five times within two hours, then drops a message: whatever is acknowledged here must be on disk, and
whatever cannot be stored must not be acknowledged. So the raw bytes are written in one statement; reading them, finding
their owner and asking SnapInspect about them is a worker's job.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial

from django.contrib.auth.decorators import login_not_required
from django.db import Error as DatabaseProblem
from django.db import InterfaceError, OperationalError
from django.db import connection as database
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from integrations.background import jobs
from integrations.events import webhook_addresses
from integrations.metrics import counters
from integrations.models import Delivery

logger = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024
# SQLite has one writer at a time, and who finds it busy sleeps: threads that queue here are woken in turn instead.
_sqlite_writers = threading.Lock()


_PREFIX = "/webhooks/snapinspect/"


class StraightToTheDoor:
    """Middleware that takes deliveries past all that follows it: sessions, sign-in, CSRF and pages are none of theirs.

    They were most of what a delivery costs beside its INSERT. The door stands in the URLconf too, to be found there.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(_PREFIX):
            secret = request.path_info.removeprefix(_PREFIX).removesuffix("/")
            if secret and "/" not in secret:
                return receive(request, secret)
        return self._get_response(request)


class CutOff(Exception):
    """The sender went away before its whole body had come."""


@csrf_exempt
@login_not_required
def receive(request: HttpRequest, secret: str) -> HttpResponse:
    """Answers SnapInspect's server. 200: stored. 404: no such address. 405, 413, 400: not a delivery. 503: try again.

    Vendor's page, "WebHook": any answer but 200 counts as a failed delivery, which is tried again 4 times in 2 hours.
    """
    if request.method != "POST":
        return _answer(405, Allow="POST")
    try:
        address = webhook_addresses.find(secret)
        if address is None:
            return _answer(404)
        body = read(request, MOST_BYTES)
        if body is None:
            return _answer(413)
        _store(address, (request.META.get("CONTENT_TYPE") or "")[:100], body)
    except CutOff:
        return _answer(400)
    except DatabaseProblem as problem:
        # Never a false 200. The kind is enough: the message of a driver may quote what it was given.
        logger.error("A delivery could not be stored (%s).", type(problem).__name__)
        return _answer(503, Retry_After="60")
    jobs.nudge_soon()
    return _answer(200)


def read(request: HttpRequest, most: int) -> bytes | None:
    """The raw body; None if it has more than `most` bytes. Raises CutOff.

    Read from `wsgi.input`: Django's `request.body` is empty for a body that comes in chunks (RFC 9112 section 7.1),
    which has no Content-Length.
    """
    stream = request.META["wsgi.input"]
    announced = request.META.get("CONTENT_LENGTH") or ""
    try:
        if announced.isdecimal():
            length = int(announced)
            if length > most:
                return None
            body: bytes = stream.read(length)
            if len(body) != length:
                raise CutOff
            return body
        if "chunked" not in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
            return b""
        chunks = bytearray()
        while len(chunks) <= most and (chunk := stream.read(most + 1 - len(chunks))):
            chunks += chunk
    except CutOff:
        raise
    except Exception as problem:
        # Each server has its own error for a connection that ends within a body, gunicorn's not even an OSError.
        raise CutOff from problem
    return None if len(chunks) > most else bytes(chunks)


def _store(address: webhook_addresses.Address, content_type: str, body: bytes) -> None:
    store = partial(Delivery.objects.store, connection_id=address.connection_id, content_type=content_type, body=body)
    if database.vendor == "sqlite":
        with _sqlite_writers:
            return store()
    # Django would ask first whether a kept connection still lives: one round trip more for each delivery. A statement
    # that finds it dead is sent again on a new one; should both have arrived, two equal deliveries make one event.
    database.health_check_done = True  # type: ignore[attr-defined]
    try:
        return store()
    except (OperationalError, InterfaceError):
        if database.in_atomic_block:
            raise
        database.close()
        return store()


def _answer(status: int, **headers: str) -> HttpResponse:
    counters.door_answered(status)
    # Without a length gunicorn would send the nothing that follows in chunks, by a second packet.
    response = HttpResponse(status=status, content_type="text/plain", headers={"Content-Length": "0"})
    for name, value in headers.items():
        response[name.replace("_", "-")] = value
    return response

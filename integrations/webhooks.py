"""The webhook endpoint: stores each delivery, commits, answers 200, and does nothing else.

SnapInspect tries five times within two hours, then drops a message: what is acknowledged must be on disk, and what
cannot be stored must not be acknowledged. So the raw body is written in one statement; a worker reads it, finds its
connections and asks SnapInspect about it.
"""

import logging
from collections.abc import Callable
from functools import partial

from django.contrib.auth.decorators import login_not_required
from django.db import Error as DatabaseProblem
from django.db import connection as database
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from accounts.first_statement import first_statement
from integrations.events import webhook_addresses
from integrations.events.group_commit import GroupCommit
from integrations.metrics import counters
from integrations.models import Delivery
from integrations.models.deliveries import Posted

logger = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024
_on_sqlite = GroupCommit[Posted](lambda posted: Delivery.objects.store(*posted))
_PREFIX = "/webhooks/snapinspect/"


class WebhookMiddleware:
    """Middleware that answers deliveries without the middleware below it: sessions, sign-in, CSRF, URLconf.

    Those cost more than anything else of a delivery but its INSERT. The view is in the URLconf too, to be found there.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(_PREFIX):
            secret = request.path_info.removeprefix(_PREFIX).removesuffix("/")
            if secret and "/" not in secret:
                return receive(request, secret)
        return self._get_response(request)


class BodyCutOff(Exception):
    """The connection ended before the whole body had come."""


@csrf_exempt
@login_not_required
def receive(request: HttpRequest, secret: str) -> HttpResponse:
    """Stores a delivery. 200: stored. 404: no such address. 405, 413, 400: not a delivery. 503: try again.

    Vendor's page, "WebHook": any answer but 200 counts as a failed delivery, which is tried again 4 times in 2 hours.
    """
    if request.method != "POST":
        return _answer(405, Allow="POST")
    try:
        address = webhook_addresses.find(secret)
        if address is None:
            return _answer(404)
        body = _read(request)
        if body is None:
            return _answer(413)
        _store(address, (request.META.get("CONTENT_TYPE") or "")[:100], body)
    except BodyCutOff:
        return _answer(400)
    except DatabaseProblem as problem:
        # Only the type: a driver's message may quote the values.
        logger.error("A delivery could not be stored (%s).", type(problem).__name__)
        return _answer(503, Retry_After="60")
    return _answer(200)


def _read(request: HttpRequest) -> bytes | None:
    """The raw body; None if it has more than MOST_BYTES. Raises BodyCutOff.

    Read from `wsgi.input`: Django's `request.body` is empty for a body that comes in chunks (RFC 9112 section 7.1),
    which has no Content-Length.
    """
    stream = request.META["wsgi.input"]
    announced = request.META.get("CONTENT_LENGTH") or ""
    try:
        if announced.isdecimal():
            length = int(announced)
            if length > MOST_BYTES:
                return None
            body: bytes = stream.read(length)
            if len(body) != length:
                raise BodyCutOff
            return body
        if "chunked" not in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
            return b""
        chunks = bytearray()
        while len(chunks) <= MOST_BYTES and (chunk := stream.read(MOST_BYTES + 1 - len(chunks))):
            chunks += chunk
    except BodyCutOff:
        raise
    except Exception as problem:
        # Each WSGI server has its own exception for a connection that ends; gunicorn's is not even an OSError.
        raise BodyCutOff from problem
    return None if len(chunks) > MOST_BYTES else bytes(chunks)


def _store(address: webhook_addresses.Address, content_type: str, body: bytes) -> None:
    posted: Posted = address.connection_id, content_type, body
    if database.vendor == "sqlite":
        return _on_sqlite.add(posted)
    # Should it be sent twice, two equal deliveries make one event.
    return first_statement(partial(Delivery.objects.store, posted))


def _answer(status: int, **headers: str) -> HttpResponse:
    counters.count_webhook_answer(status)
    # Without a length gunicorn would send the empty body in chunks, as a second packet.
    response = HttpResponse(status=status, content_type="text/plain", headers={"Content-Length": "0"})
    for name, value in headers.items():
        response[name.replace("_", "-")] = value
    return response

"""SnapInspect's API on a customer's behalf, by any method: its answer as it is, or a problem with `Connect-Error`."""

import errno
import logging
import re
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed, StreamingHttpResponse
from django.http.request import HttpHeaders
from ninja import Router

from integrations import wording
from integrations.api.access import ApiKeyBearer, caller_of
from integrations.api.problems import ERROR, Problem
from integrations.calls import api_client
from integrations.calls.request_body import BodyCutOff, RequestBody
from integrations.models import Scope
from integrations.snapinspect.client import ForwardedAnswer
from integrations.snapinspect.errors import BadPath, SnapInspectError

router = Router(tags=["proxy"])
# What an answer of SnapInspect carries, and no problem of ours.
ATTEMPTS, DURATION = "Connect-Attempts", "Connect-Duration"
MOST_BYTES = api_client.FORWARD_BYTES
logger = logging.getLogger(__name__)
SCOPES = {
    **dict.fromkeys(("GET", "HEAD"), Scope.PROXY_READ),
    **dict.fromkeys(("POST", "PUT", "PATCH", "DELETE", "OPTIONS"), Scope.PROXY_WRITE),
}

# By their names in WSGI.
PASSED_ON = {
    HttpHeaders.to_wsgi_name(name): name
    for name in (
        *("Accept", "Content-Type", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range"),
        "If-Unmodified-Since",
    )
}
# Of what SnapInspect answers: what is for its own origin, or is set by this server.
_NOT_PASSED_ON = frozenset({
    "access-control-allow-credentials", "access-control-allow-origin", "alt-svc", "clear-site-data",
    "content-security-policy", "content-security-policy-report-only", "cross-origin-embedder-policy",
    "cross-origin-opener-policy", "cross-origin-resource-policy", "date", "expect-ct", "nel", "origin-agent-cluster",
    "permissions-policy", "public-key-pins", "ratelimit", "ratelimit-policy", "referrer-policy", "refresh",
    "report-to", "reporting-endpoints", "server", "service-worker-allowed", "set-cookie", "set-cookie2",
    "strict-transport-security", "x-content-type-options", "x-frame-options", "x-request-id",
})  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PATH_CHARACTERS = "/~$!'()*+,=-"
# A space stays, and is refused: it ends an address.
_QUERY_CHARACTERS = "%/?:@!$&'()*+,;=-._~ "

# The kinds of NoAnswer that are SnapInspect's, and whether the request may have arrived.
_NO_ANSWER = {
    **{"dns": False, "connect": False, "tls": False},
    **{"cut": True, "too_large": True, "not_text": True, "wrong_shape": True},
}
_ANSWER = {
    "description": "What SnapInspect answers, whatever its status; with the header Connect-Error, a problem of ours.",
    "content": {"*/*": {"schema": {}}},
}


def view(request: HttpRequest, code: str, path: str) -> HttpResponseBase:
    """What `call_snapinspect` answers to a key with the method's scope.

    Not through ninja, which describes it: here one statement reads the key, the connection and its tokens.
    """
    auth = _AUTH.get(request.method or "")
    if auth is None:
        return HttpResponseNotAllowed(_AUTH)
    auth(request, to_call=code)
    return call_snapinspect(request, code, path)


def call_snapinspect(request: HttpRequest, code: str, path: str) -> HttpResponseBase:
    """SnapInspect's answer at this path below its API address, with the connection's access."""
    connection, pair = caller_of(request).connection_to_call(code)
    if "connectapp.callback_query" in request.META:
        raise _not_a_path("The query names a token. This app sends none of them in an address.")
    # Clients leave brackets and the like as they are.
    query = quote(request.META.get("QUERY_STRING", "").encode("latin-1", "replace"), safe=_QUERY_CHARACTERS)
    # As Django gives it, without percent escapes.
    below = quote(path, safe=_PATH_CHARACTERS) + (f"?{query}" if query else "")
    body = RequestBody(request.read, int(request.META.get("CONTENT_LENGTH") or 0))
    forwarded = api_client.Forward(request.method or "", below, _headers(request), body)
    started = time.monotonic()
    try:
        answer, attempts = api_client.forward(connection, forwarded, pair=pair)
    except BadPath:
        raise _not_a_path(wording.NOT_A_PATH) from None
    except BodyCutOff:
        raise Problem("bad-request", "The body ended before its Content-Length.") from None
    except api_client.NoAnswer as no:
        raise _problem(no, forwarded) from None
    response = _passed_on(answer)
    response[ATTEMPTS] = str(attempts)
    response[DURATION] = f"{time.monotonic() - started:.3f}"
    return response


_AUTH = {method: ApiKeyBearer(scope) for method, scope in SCOPES.items()}
for _method, _auth in _AUTH.items():
    router.add_api_operation(
        "/{slug:code}/proxy/{path:path}",
        [_method],
        call_snapinspect,
        auth=_auth,
        operation_id=f"proxy_{_method.lower()}",
        url_name="proxy",
        openapi_extra={"responses": {"default": _ANSWER}},
    )


def _headers(request: HttpRequest) -> dict[str, str]:
    passed = {name: request.META[key] for key, name in PASSED_ON.items() if request.META.get(key)}
    for name, value in passed.items():
        if not (value.isascii() and value.isprintable()):
            raise Problem("bad-request", f"The header {name} holds characters that are not printable ASCII.")
    return passed


def _passed_on(answer: ForwardedAnswer) -> HttpResponseBase:
    response: HttpResponseBase
    if answer.rest is None:
        response = HttpResponse(answer.body, status=answer.status)
    else:
        pieces = _pieces(answer.body, answer.rest)
        next(pieces)
        response = StreamingHttpResponse(pieces, status=answer.status)
    del response.headers["Content-Type"]
    for name, value in answer.headers.items():
        lower = name.lower()
        if lower in _NOT_PASSED_ON or lower.startswith("connect-"):
            continue
        if _NAME.fullmatch(name) and _VALUE.fullmatch(value):
            response[name] = value
    return response


def _pieces(start: bytes, rest: Generator[bytes]) -> Generator[bytes]:
    """Yields nothing, so that `close` has an effect from then on, and then the body.

    The connection to the client is cut off where SnapInspect's answer is: its status has been sent.
    """
    try:
        with closing(rest):
            yield b""
            yield start
            yield from rest
    except SnapInspectError as problem:
        logger.warning("An answer was cut off while it was passed on (%s).", problem.kind)
    else:
        return
    # gunicorn closes the connection without a word, and without the end of a body that has no length.
    raise ConnectionResetError(errno.ECONNRESET, "SnapInspect's answer was cut off.")


def _problem(no: api_client.NoAnswer, request: api_client.Forward) -> Problem:
    """What we have to say in place of an answer."""
    detail = wording.trouble(no.error_kind)
    headers = {ERROR: no.error_kind}
    may_have_arrived = no.error_kind == "timeout" or _NO_ANSWER.get(no.error_kind, False)
    if may_have_arrived and not request.is_safe:
        detail += " Whether it did what was asked is not known: look before you send it again."
    if no.error_kind == "timeout":
        return Problem("timed-out", detail, headers=headers)
    if no.error_kind in _NO_ANSWER:
        return Problem("no-answer", detail, headers=headers)
    if not no.is_outage:
        return Problem("conflict", f"{detail} Reconnect this connection.", headers=headers)
    wait = max(round(no.retry_after), 1 if no.error_kind == "busy" else 5)
    return Problem("unavailable", detail, headers={**headers, "Retry-After": str(wait)})


def _not_a_path(why: str) -> Problem:
    errors: list[dict[str, Any]] = [{"field": "path.path", "detail": why}]
    return Problem("invalid", "Change the path or its query.", headers={ERROR: "outside_base"}, errors=errors)

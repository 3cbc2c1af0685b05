"""A number for each request: in its log lines, in the answer's `X-Request-ID`, and on the page when something fails."""

import re
import secrets
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

# What nginx and other proxies make; anything else could be somebody's attempt at writing into our logs.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9-]{8,64}")


class RequestId:
    """Middleware: the proxy's number where we are behind one, else a number of our own (64 random bits)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "") if settings.TRUSTED_PROXIES else ""
        number = given if _ACCEPTABLE.fullmatch(given) else secrets.token_hex(8)
        # A thread serves one request after the other: what the last one has left must not stand in this one's lines.
        clear_contextvars()
        bind_contextvars(request_id=number)
        response = self._get_response(request)
        response["X-Request-ID"] = number
        return response


def request_id(request: HttpRequest | None = None) -> dict[str, Any]:
    """For templates: the number of the request that is being answered."""
    return {"request_id": get_contextvars().get("request_id", "")}

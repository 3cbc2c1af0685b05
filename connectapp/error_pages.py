"""Pages of errors outside views, with the request ID and nothing about the code."""

import sys

from django.core.exceptions import RequestDataTooBig, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from connectapp.context_processors import request_id


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400; 413 for a form that is too large."""
    if isinstance(exception, RequestDataTooBig | TooManyFilesSent):
        return _page("413.html", 413)
    return _page("400.html", 400)


def server_error(request: HttpRequest) -> HttpResponse:
    """500; 503 with Retry-After while the database is away."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        response = _page("503.html", 503)
        response["Retry-After"] = "30"
        return response
    return _page("500.html", 500)


def _page(template: str, status: int) -> HttpResponse:
    # Without the context processors: some of them ask the database.
    return HttpResponse(render_to_string(template, request_id()), status=status)

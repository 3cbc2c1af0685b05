"""Pages of errors outside views, with the request ID and nothing about the code."""

import sys
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse

from connectapp.context_processors import request_id


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400; 413 for a form that is too large."""
    if isinstance(exception, RequestDataTooBig | TooManyFilesSent):
        return _page("413.html", 413)
    return _page("400.html", 400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404; tells staff where they find what belongs to a customer whose member they are not."""
    is_staff = getattr(getattr(request, "user", None), "is_staff", False)
    context = {"staff_url": _in_admin(request) if is_staff else ""}
    return HttpResponse(render_to_string("404.html", context, request), status=404)


def _in_admin(request: HttpRequest) -> str:
    """The search in the admin for what the address names by its code; empty if it names nothing of a customer."""
    named = request.resolver_match.kwargs if request.resolver_match else {}
    for kind, name in (("integrations_event", "event_code"), ("integrations_connection", "connection_code")):
        if name in named:
            return f"{reverse(f'admin:{kind}_changelist')}?{urlencode({'q': named[name]})}"
    if "code" in named:
        return f"{reverse('admin:accounts_customer_changelist')}?{urlencode({'q': named['code']})}"
    return ""


def server_error(request: HttpRequest) -> HttpResponse:
    """500; 503 with Retry-After while the database is away."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        response = _page("503.html", 503)
        response["Retry-After"] = "30"
        return response
    return _page("500.html", 500)


def _page(template: str, status: int) -> HttpResponse:
    # Without the context processors: some of them ask the database.
    brand = {"app_name": settings.APP_NAME, "brand_accent": settings.BRAND_ACCENT}
    return HttpResponse(render_to_string(template, {**request_id(), **brand}), status=status)

import re
import secrets
from collections.abc import Callable
from typing import Any

from csp.utils import build_policy
from django.conf import settings
from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin
from structlog.contextvars import bind_contextvars, clear_contextvars

from connectapp import health, metrics, postgresql

# What nginx and other proxies make; anything else could be an attempt to write into our logs.
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}")


class RequestId:
    """Gives each request an ID: the proxy's `X-Request-ID` behind a trusted proxy, else 64 random bits.

    It stands in the request's log lines, in the response's `X-Request-ID` and on error pages.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "") if settings.TRUSTED_PROXIES else ""
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        # A thread serves one request after the other: what the last one bound must not stand in this one's lines.
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        response = self._get_response(request)
        response["X-Request-ID"] = request_id
        return response


class ContentSecurityPolicy:
    """Sends the policy of the settings, written once: no view changes it. django-csp writes it anew for each answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._policy = build_policy()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        # Django's pages about errors in development have styles and scripts in them.
        if not (settings.DEBUG and response.status_code in {404, 500}):
            response["Content-Security-Policy"] = self._policy
        return response


class DatabaseDeadline(MiddlewareMixin):
    """Gives each statement of a request a deadline: a database that hangs must not take every thread."""

    def process_request(self, request: HttpRequest) -> None:
        postgresql.deadline.set(postgresql.OF_REQUESTS)


@receiver(request_finished)
def end_deadline(**_: Any) -> None:
    """A streamed answer has been read by now; what this thread does next is no request."""
    postgresql.deadline.set(None)


class MonitoringEndpoints(MiddlewareMixin):
    """Answers health checks and scrapes under any host name: probes use an address that is not in ALLOWED_HOSTS.

    Stands before all middleware that asks the database: a hanging session table does not make a live process look dead.
    """

    VIEWS = {"/health/live": health.live, "/health/ready": health.ready, "/metrics": metrics.scrape}

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        view = self.VIEWS.get(request.path_info) if request.method in {"GET", "HEAD"} else None
        return view(request) if view else None

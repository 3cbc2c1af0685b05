"""The addresses of the API, and what holds for all of them."""

import logging
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, re_path
from django.utils.cache import patch_cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from ninja.errors import HttpError, ValidationError

from integrations.api import connect_sessions, connections, customers, events, keys, problems, proxy, webhook_endpoints
from integrations.api.access import Caller, rate_limit_headers
from integrations.api.description import DescribedAPI
from integrations.api.problems import Problem

# Django's own logger of crashes: the operator is mailed what it gets.
logger = logging.getLogger("django.request")

MOST_BYTES = 64 * 1024

api = DescribedAPI(
    title="Connect",
    version="1",
    description="SnapInspect on behalf of your customers. Times are in RFC 3339, UTC.",
    docs_url=None,
    urls_namespace="api",
)
api.add_router("/customers", customers.router)
api.add_router("/connect-sessions", connect_sessions.router)
api.add_router("/connections", connections.router)
api.add_router("/connections", proxy.router)
api.add_router("/events", events.router)
api.add_router("/webhook-endpoints", webhook_endpoints.router)
api.add_router("/deliveries", webhook_endpoints.deliveries)


@api.exception_handler(Problem)
def _problem(request: HttpRequest, problem: Problem | type[Problem]) -> HttpResponse:
    assert isinstance(problem, Problem)
    return problems.response(problem)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError | type[ValidationError]) -> HttpResponse:
    # Not what was sent: it may hold anything.
    found = [{"field": _field(one["loc"]), "detail": one["msg"]} for one in getattr(error, "errors", [])]
    return problems.response(Problem("invalid", "Change the fields that `errors` names.", errors=found))


@api.exception_handler(HttpError)
def _unreadable(request: HttpRequest, error: HttpError | type[HttpError]) -> HttpResponse:
    return problems.response(Problem("bad-request", "The body is not JSON that can be read."))


@api.exception_handler(Http404)
def _not_found(request: HttpRequest, error: Http404 | type[Http404]) -> HttpResponse:
    return problems.response(Problem("not-found", problems.NOT_FOUND))


@api.exception_handler(Exception)
def _crash(request: HttpRequest, error: Exception | type[Exception]) -> HttpResponse:
    if isinstance(error, OperationalError | InterfaceError):
        detail = "The database does not answer. Try again as Retry-After says."
        return problems.response(Problem("unavailable", detail, headers={"Retry-After": "30"}))
    assert isinstance(error, Exception)
    logger.error(
        "Internal Server Error: %s", request.path, exc_info=error, extra={"status_code": 500, "request": request}
    )
    return problems.response(Problem("crashed", "The operator has been told. Name the request_id when you ask."))


def _field(location: tuple[str | int, ...]) -> str:
    """The path of a field as clients know it: without the name of the function's parameter that takes the body."""
    source, *path = (str(part) for part in location)
    return ".".join([source, *path[1:]] if source == "body" else [source, *path])


def _guarded(view: Callable[..., HttpResponseBase], *, is_proxy: bool = False) -> Callable[..., HttpResponseBase]:
    """The view, open without a sign-in and a CSRF token: a key is asked for, and no cookie counts."""

    @csrf_exempt
    @login_not_required
    @wraps(view)
    def answer(request: HttpRequest, *arguments: Any, **parameters: Any) -> HttpResponseBase:
        try:
            _check(request)
            if is_proxy:
                _check_length(request, most=proxy.MOST_BYTES)
            else:
                _check_length(request, most=MOST_BYTES)
                _check_is_json(request)
            response = view(request, *arguments, **parameters)
        except Problem as problem:
            response = problems.response(problem)
        except Http404:
            response = problems.response(Problem("not-found", problems.NOT_FOUND))
        is_ours = proxy.ATTEMPTS not in response
        if is_ours and response.status_code == 405 and response.headers.get("Content-Type") != problems.CONTENT_TYPE:
            allowed = {"Allow": response.headers.get("Allow", "")}
            detail = "Allow names the methods that this address takes."
            response = problems.response(Problem("method-not-allowed", detail, headers=allowed))
        caller = getattr(request, "api_caller", None)
        if isinstance(caller, Caller):
            for name, value in rate_limit_headers(caller.key).items():
                response[name] = value
        patch_cache_control(response, no_store=True)
        return response

    return answer


def _check(request: HttpRequest) -> None:
    """Raises Problem for a request that must not be looked at any further."""
    if settings.SECURE_SSL_REDIRECT and not request.is_secure():
        raise Problem("https-required", "Use https. Revoke the key, if you have sent it: others may have read it.")
    if re.search(keys.PATTERN, request.get_full_path()):
        raise Problem(
            "key-in-url", "Send keys in the header Authorization only, and revoke this one: addresses are logged."
        )


def _check_length(request: HttpRequest, *, most: int) -> None:
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise Problem("length-required", "Send the body with a Content-Length.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > most:
        raise Problem("too-large", f"A body has {most} bytes at most.")


def _check_is_json(request: HttpRequest) -> None:
    if int(request.META.get("CONTENT_LENGTH") or 0) and request.content_type != "application/json":
        raise Problem("not-json", "Send JSON, with the header “Content-Type: application/json”.")


def _unknown(request: HttpRequest) -> HttpResponse:
    raise Problem("not-found", "This address does not exist. /api/v1/openapi.json lists those that do.")


app_name = "api"
urlpatterns = [pattern for pattern in api.urls[0] if isinstance(pattern, URLPattern)]
for pattern in urlpatterns:
    # ninja answers any method with the description.
    view = require_safe(pattern.callback) if pattern.name == "openapi-json" else pattern.callback
    pattern.callback = _guarded(view, is_proxy=pattern.name == "proxy")
urlpatterns.append(re_path(r"^", _guarded(_unknown), name="unknown"))

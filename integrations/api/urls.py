"""The addresses of the API, and its problems."""

import logging

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, re_path
from django.views.decorators.http import require_safe
from ninja.errors import HttpError, ValidationError

from integrations.api import connect_sessions, connections, customers, events, problems, proxy, webhook_endpoints
from integrations.api.description import DescribedAPI
from integrations.api.problems import Problem
from integrations.api.values import BodyParser

# Django's own logger of crashes: the operator is mailed what it gets.
logger = logging.getLogger("django.request")

api = DescribedAPI(
    title="Connect",
    version="1",
    description="SnapInspect on behalf of your customers. Times are in RFC 3339, UTC.",
    docs_url=None,
    urls_namespace="api",
    parser=BodyParser(),
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


def _unknown(request: HttpRequest) -> HttpResponse:
    raise Problem("not-found", "This address does not exist. /api/v1/openapi.json lists those that do.")


app_name = "api"
urlpatterns = [pattern for pattern in api.urls[0] if isinstance(pattern, URLPattern)]
for pattern in urlpatterns:
    if pattern.name == "proxy":
        pattern.callback = proxy.view
    elif pattern.name == "openapi-json":
        # ninja answers any method with the description.
        pattern.callback = require_safe(pattern.callback)
# The proxy first: its calls would be compared with all other addresses.
urlpatterns = [*sorted(urlpatterns, key=lambda found: found.name != "proxy"), re_path(r"^", _unknown, name="unknown")]

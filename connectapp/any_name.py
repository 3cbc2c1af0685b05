"""Addresses for machines that watch this one."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from connectapp import health, metrics


class AnswersUnderAnyName:
    """Middleware: who asks for health or metrics has an address of this process and no name from ALLOWED_HOSTS.

    It stands before whatever asks the database: a session table that hangs does not make a living process look dead.
    """

    VIEWS = {"/health/live": health.live, "/health/ready": health.ready, "/metrics": metrics.scrape}

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        view = self.VIEWS.get(request.path_info) if request.method in {"GET", "HEAD"} else None
        return view(request) if view else self._get_response(request)

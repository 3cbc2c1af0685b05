"""Answers to htmx: parts of a page that ask for themselves anew, and pages that wait for a worker."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

# Has htmx load the whole page anew.
RELOAD = {"HX-Refresh": "true"}


def is_htmx(request: HttpRequest) -> bool:
    """Whether a part of a page asks for itself, not a browser, or the element #attention, that loads the page."""
    return request.headers.get("HX-Request") == "true" and request.headers.get("HX-Target") != "attention"


def page_or_part(request: HttpRequest, page: str, part: str, context: dict[str, Any]) -> HttpResponse:
    """The page; for htmx the part of it that changes, or nothing (204) while it would look as it does on the screen.

    `version` in the context, if there is one, stands for how the part looks; the part sends it back as `seen`.
    """
    if not is_htmx(request):
        return render(request, page, context)
    if "version" in context and context["version"] == request.GET.get("seen"):
        return HttpResponse(status=204)
    return render(request, part, context)


def answer_to_waiting(request: HttpRequest, *, is_waiting: bool) -> HttpResponse | None:
    """What a waiting page gets that asks every second: nothing while `is_waiting`, then that it should be reloaded.

    None for a browser that loads the page: only that may change anything.
    """
    if not is_htmx(request):
        return None
    return HttpResponse(status=204, headers={} if is_waiting else RELOAD)

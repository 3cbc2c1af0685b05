"""The events of a customer's connections: what happened at SnapInspect, and what became of it here."""

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.access import MAY_CONNECT, customer_for, person
from accounts.models import Customer
from integrations import inbox
from integrations.models import Event

PAGE = 50
FILTERS = ("q", "state", "type", "connection")


@never_cache
@require_GET
def events(request: HttpRequest, code: str) -> HttpResponse:
    """Newest first, filtered by what the address says, a page at a time by the id of the last row (no counting)."""
    customer = customer_for(request, code)
    # PostgreSQL refuses NUL in text, even to look for it.
    chosen = {name: request.GET.get(name, "").strip().replace("\0", "") for name in FILTERS}
    rows = _chosen(customer, chosen)
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 19:
        rows = rows.filter(pk__lt=int(before))
    page = list(rows[: PAGE + 1])
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "events": page[:PAGE],
        "older": page[PAGE - 1].pk if len(page) > PAGE else None,
        "query": query.urlencode(),
        "chosen": chosen,
        "filtered": any(chosen.values()),
        "first_page": not before,
        "states": Event.State,
        "connections": list(customer.connections.all()),
    }
    is_part = request.htmx  # type: ignore[attr-defined]
    return render(request, "integrations/partials/events.html" if is_part else "integrations/events.html", context)


@never_cache
@require_GET
def event(request: HttpRequest, code: str, event_code: str) -> HttpResponse:
    """One event: what it is, what was tried, what came in, what SnapInspect says about it."""
    customer = customer_for(request, code)
    found = _event(customer, event_code)
    return render(
        request,
        "integrations/event.html",
        {
            "event": found,
            "attempts": list(found.timeline.all()),
            "deliveries": list(found.deliveries.order_by("pk")[:PAGE]),
        },
    )


@require_POST
def replay(request: HttpRequest, code: str, event_code: str) -> HttpResponse:
    """Has a finished event processed anew."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    found = _event(customer, event_code)
    if inbox.replay(found, by=person(request)):
        messages.success(request, "This event is being processed again.")
    else:
        messages.info(request, "This event is being worked on already.")
    return redirect("event", customer.code, found.code)


def _event(customer: Customer, code: str) -> Event:
    shown = Event.objects.shown().select_related("connection")
    return get_object_or_404(shown, connection__customer=customer, code=code)


def _chosen(customer: Customer, chosen: dict[str, str]) -> "QuerySet[Event]":
    rows = Event.objects.shown().filter(connection__customer=customer).select_related("connection")
    if chosen["q"]:
        rows = rows.filter(inspection_id=chosen["q"])
    if chosen["state"]:
        rows = rows.filter(state=chosen["state"])
    if chosen["type"]:
        rows = rows.filter(type=chosen["type"])
    if chosen["connection"]:
        rows = rows.filter(connection__code=chosen["connection"])
    return rows.order_by("-pk")

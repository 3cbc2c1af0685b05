"""How the whole is doing, for staff: a page that refreshes itself, and the same as JSON."""

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET

from accounts.access import current_staff
from integrations import wording
from integrations.models import Delivery, Event, State
from integrations.operations import status
from integrations.views.htmx import page_or_part

MAY_SEE = "integrations.view_connection"
CONNECTIONS = "admin:integrations_connection_changelist"
DELIVERIES = "admin:integrations_delivery_changelist"
EVENTS = "admin:integrations_event_changelist"


@require_GET
def staff_home(request: HttpRequest) -> HttpResponse:
    """The first page of staff: how everything is doing, for those who may see it."""
    return redirect("operations" if current_staff(request).has_perm(MAY_SEE) else "admin:index")


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Signals first, then counts that lead to the rows behind them."""
    current_staff(request, MAY_SEE)
    seen = status.read()
    context = {
        "seen": seen,
        "at_operations": "page",
        "most": status.COUNT_LIMIT,
        "groups": [
            ("Connections", _linked(CONNECTIONS, "state__exact", seen.connections, dict(State.choices))),
            ("Events", _linked(EVENTS, "state__exact", seen.events, dict(Event.State.choices))),
            ("Deliveries", _linked(DELIVERIES, "state__exact", seen.deliveries, dict(Delivery.State.choices))),
        ],
        "troubles": [
            (
                "Connection problems",
                _linked(CONNECTIONS, "error_kind", seen.connection_troubles, wording.TROUBLE),
            ),
            (
                "Processing attempts that failed in 24 hours",
                _linked(EVENTS, "last_error_kind", seen.event_troubles, wording.TROUBLE | wording.EVENT_TROUBLE),
            ),
        ],
        "keys": [
            (key, seen.keys.get(key, 0), key in seen.configured_keys)
            for key in dict.fromkeys([*seen.configured_keys, *seen.keys])
        ],
    }
    return page_or_part(request, "staff/operations.html", "staff/partials/operations_status.html", context)


@require_GET
def as_json(request: HttpRequest) -> HttpResponse:
    """The same for machines of people who are signed in as staff."""
    current_staff(request, MAY_SEE)
    return JsonResponse(asdict(status.read()))


def _linked(name: str, lookup: str, counts: dict[str, int], words: Any) -> list[tuple[str, str, int]]:
    """Words, the address of the rows, and how many there are."""
    return [(words.get(value, value), reverse(name, query={lookup: value}), count) for value, count in counts.items()]

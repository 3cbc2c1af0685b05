"""One event: what it is, its attempts, its deliveries, the details of its inspection."""

import json

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_GET, require_POST

from accounts.access import MAY_CONNECT, current_user, customer_for
from accounts.models import Customer
from integrations.calls import explorer, tables
from integrations.calls.tables import Cell
from integrations.events import event_actions
from integrations.events.selection import Selection, fingerprint
from integrations.models import Event
from integrations.snapinspect import inspection_content, json_text
from integrations.snapinspect.errors import BadPath
from integrations.snapinspect.json_answers import Json
from integrations.views.forms import EventFilter
from integrations.views.htmx import is_htmx, page_or_part

MOST_DELIVERIES = 20
MOST_FACTS = 12
LONGEST_LABEL = 60


@require_GET
def event(request: HttpRequest, code: str, event_code: str) -> HttpResponse:
    """The whole event, and its neighbours in the list that the visitor came from."""
    customer = customer_for(request, code)
    found = _event(customer, event_code)
    form = EventFilter(request.GET, customer)
    chosen = form.selection if form.is_valid() else Selection()
    attempts = list(found.timeline.all())
    deliveries = list(found.deliveries.order_by("pk")[: MOST_DELIVERIES + 1])
    version = fingerprint([found.state, found.attempts, found.next_attempt_at, len(attempts), len(deliveries)])
    context = {
        "event": found,
        "attempts": attempts,
        "deliveries": deliveries[:MOST_DELIVERIES],
        "more_deliveries": len(deliveries) > MOST_DELIVERIES,
        "query": chosen.query,
        "facts": _facts(found),
        "curl": _as_curl(found.inspection_id),
        "version": version,
    }
    if not is_htmx(request):
        matching = chosen.of(customer)
        context["newer"] = next(iter(matching.oldest(1, after=found.place)), None)
        context["older"] = next(iter(matching.newest(1, before=found.place)), None)
    return page_or_part(request, "integrations/event.html", "integrations/partials/event_content.html", context)


@require_POST
def replay(request: HttpRequest, code: str, event_code: str) -> HttpResponse:
    """Has a finished event processed anew."""
    customer = customer_for(request, code, roles=MAY_CONNECT)
    found = _event(customer, event_code)
    if event_actions.replay(found, by=current_user(request)):
        messages.success(request, "Replay started.")
    elif not found.is_open:
        messages.warning(request, "This event's connection is disconnected. Reconnect it to replay the event.")
    return redirect("event", customer.code, found.code)


def _facts(event: Event) -> list[tuple[str, Cell]]:
    """What the inspection's record says, beside its title and status."""
    if not event.content:
        return []
    found = inspection_content.facts_of(json.loads(event.content))
    return [
        (json_text.printable(label)[:LONGEST_LABEL], tables.to_cell(_printable(value)))
        for label, value in found
        if value != event.inspection_title
    ][:MOST_FACTS]


def _printable(value: Json) -> Json:
    return json_text.printable(value) if isinstance(value, str) else value


def _as_curl(inspection_id: str) -> str:
    """The command that asks SnapInspect for this inspection; empty if it cannot be asked for."""
    if not inspection_id or not settings.SNAPINSPECT_INSPECTION_PATH:
        return ""
    try:
        return explorer.as_curl(settings.SNAPINSPECT_INSPECTION_PATH.format(inspection_id=inspection_id))
    except BadPath:
        return ""  # the ID is from an unverified delivery and may be anything


def _event(customer: Customer, code: str) -> Event:
    shown = Event.objects.shown().select_related("connection")
    return get_object_or_404(shown, connection__customer=customer, code=code)

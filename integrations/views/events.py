"""The events of a customer's connections: what happened at SnapInspect, and what became of it here."""

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import audit
from accounts.access import current_user, customer_for
from accounts.models import Customer
from integrations import wording
from integrations.events.selection import Matching, Selection, fingerprint
from integrations.models import Connection, Event, State
from integrations.views import csv_files
from integrations.views.forms import SelectionForm

PAGE = 50
HEADER = [
    "received (UTC)", "what", "type", "inspection", "review", "company", "connection", "state", "attempts", "problem",
    "checked at SnapInspect", "finished (UTC)", "event",
]  # fmt: skip


@never_cache
@require_GET
def events(request: HttpRequest, code: str) -> HttpResponse:
    """Newest first, filtered by what the address says, a page at a time from an event that stands in the address."""
    customer = customer_for(request, code)
    connections = list(customer.connections.all())
    form = SelectionForm(request.GET, connections=connections)
    if not form.is_valid():
        return render(request, "integrations/events.html", {"form": form, "events": []})
    chosen = form.selection
    context = {
        "form": form,
        "query": chosen.query,
        "several": len(connections) > 1,
        "waits_for": _waits_for(customer, connections),
        "replay": customer.replays.running().first(),
    }
    page = _page(chosen.of(customer), customer, request.GET)
    if page is None:
        return redirect(_address("events", customer, chosen))
    if not request.htmx:  # type: ignore[attr-defined]
        return render(request, "integrations/events.html", context | page)
    if page["looks"] == request.GET.get("seen"):
        return HttpResponse(status=204)  # what is on the screen stays as it is
    return render(request, "integrations/partials/event_list.html", context | page)


@never_cache
@require_GET
def export(request: HttpRequest, code: str) -> HttpResponseBase:
    """The same events as a file, all of them, in constant memory."""
    customer = customer_for(request, code)
    form = SelectionForm(request.GET, connections=list(customer.connections.all()))
    if not form.is_valid():
        # That page says what is wrong with the filter.
        return redirect(f"{reverse('events', args=[customer.code])}?{request.GET.urlencode()}")
    chosen = form.selection
    audit.record("events.exported", customer=customer, actor=current_user(request), **chosen.plain)
    name = f"events-{slugify(customer.name) or customer.code}-{timezone.now():%Y-%m-%d}.csv"
    return csv_files.download(name, HEADER, _rows(chosen.of(customer)))


def _page(matching: Matching, customer: Customer, query: Any) -> dict[str, Any] | None:
    """What stands on a page; None if it is the first one by another name, or begins at an event that is gone."""
    before, after = (
        Event.objects.filter(connection__customer=customer, code=query[name][:16].replace("\0", "")).first()
        if query.get(name)
        else None
        for name in ("before", "after")
    )
    if after is not None:
        found = matching.oldest(PAGE + 1, after=after.place)
        more, newer = True, len(found) > PAGE
        found = found[:PAGE][::-1]
    else:
        found = matching.newest(PAGE + 1, before=before.place if before else None)
        more, newer = len(found) > PAGE, before is not None
    if (query.get("before") or query.get("after")) and not newer:
        return None
    shown = found[:PAGE]
    return {
        "events": shown,
        "older": shown[-1].code if more and shown else "",
        "newer": shown[0].code if newer and shown else "",
        "first_page": not newer,
        "looks": fingerprint([(event.pk, event.state, event.attempts, event.next_attempt_at) for event in shown]),
    }


def _waits_for(customer: Customer, connections: list[Connection]) -> Connection | str:
    """What has to be done before the first event can come; empty if SnapInspect has only to send it."""
    live = [connection for connection in connections if connection.state != State.DISCONNECTED]
    if not live:
        return "connecting"
    personal = [connection for connection in live if connection.is_personal]
    return personal[0] if personal and customer.is_owner else ""


def _address(name: str, customer: Customer, chosen: Selection) -> str:
    return reverse(name, args=[customer.code]) + (f"?{chosen.query}" if chosen.query else "")


def _rows(matching: Matching) -> Iterator[list[object]]:
    for event in matching.each():
        yield [
            _utc(event.received_at),
            wording.EVENT_TYPES.get(event.type, event.type),
            event.type,
            event.inspection_id,
            event.review_id,
            event.company_id,
            event.connection.label,
            event.get_state_display(),
            event.attempts,
            wording.event_trouble(event.last_error_kind) if event.last_error_kind else "",
            event.get_proof_display(),
            _utc(event.finished_at),
            event.code,
        ]


def _utc(moment: Any) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" if moment else ""

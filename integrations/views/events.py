"""The list of a customer's events, and the same as a file."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from accounts import audit
from accounts.access import current_user, customer_for
from accounts.models import Customer
from integrations import wording
from integrations.events.selection import Matching, fingerprint
from integrations.models import Connection, Event, State
from integrations.views import csv_response
from integrations.views.forms import EventFilter
from integrations.views.htmx import page_or_part

PAGE_SIZE = 50
HEADER = [
    "received (UTC)", "what", "type", "inspection", "title", "status before", "status", "review", "company",
    "connection", "state", "attempts", "problem", "checked at SnapInspect", "finished (UTC)", "event",
]  # fmt: skip


@require_GET
def events(request: HttpRequest, code: str) -> HttpResponse:
    """Newest first, filtered by what the address says, a page at a time from an event that stands in the address."""
    customer = customer_for(request, code)
    form = EventFilter(request.GET, customer)
    if not form.is_valid():
        return render(request, "integrations/events.html", {"form": form, "events": []})
    chosen = form.selection
    page = _page(chosen.of(customer), customer, request.GET)
    if page is None:
        return redirect(reverse("events", args=[customer.code]) + (f"?{chosen.query}" if chosen.query else ""))
    context = {
        "form": form,
        "query": chosen.query,
        "several": len(form.connections) > 1,
        "waits_for": _waits_for(customer, form.connections),
        "replay": customer.replays.running().first(),
        **page,
    }
    return page_or_part(request, "integrations/events.html", "integrations/partials/event_list.html", context)


@require_GET
def export(request: HttpRequest, code: str) -> HttpResponseBase:
    """The same events as a file, all of them, in constant memory."""
    customer = customer_for(request, code)
    form = EventFilter(request.GET, customer)
    if not form.is_valid():
        # That page says what is wrong with the filter.
        return redirect(f"{reverse('events', args=[customer.code])}?{request.GET.urlencode()}")
    chosen = form.selection
    record = partial(audit.record, "events.exported", customer=customer, actor=current_user(request), **chosen.plain)
    name = f"events-{slugify(customer.name) or customer.code}-{timezone.now():%Y-%m-%d}.csv"
    return csv_response.download(request, customer, name, HEADER, csv_rows(chosen.of(customer)), record=record)


def _page(matching: Matching, customer: Customer, query: Any) -> dict[str, Any] | None:
    """The events of one page; None for an address of the first page that names a place, or a place that is gone."""
    before, after = (
        Event.objects.filter(connection__customer=customer, code=query[name].replace("\0", "")).first()
        if query.get(name)
        else None
        for name in ("before", "after")
    )
    if after is not None:
        found = matching.oldest(PAGE_SIZE + 1, after=after.place)
        more, newer = True, len(found) > PAGE_SIZE
        found = found[:PAGE_SIZE][::-1]
    else:
        found = matching.newest(PAGE_SIZE + 1, before=before.place if before else None)
        more, newer = len(found) > PAGE_SIZE, before is not None
    if (query.get("before") or query.get("after")) and not newer:
        return None
    shown = found[:PAGE_SIZE]
    return {
        "events": shown,
        "older": shown[-1].code if more and shown else "",
        "newer": shown[0].code if newer and shown else "",
        "place": urlencode({name: query[name] for name in ("before", "after") if query.get(name)}),
        "version": fingerprint([(event.pk, event.state, event.attempts, event.next_attempt_at) for event in shown]),
    }


def _waits_for(customer: Customer, connections: list[Connection]) -> Connection | str:
    """What has to be done before the first event can come; empty if only SnapInspect has to send it."""
    live = [connection for connection in connections if connection.state != State.DISCONNECTED]
    if not live:
        return "connecting"
    personal = [connection for connection in live if connection.is_personal]
    return personal[0] if personal and customer.is_owner else ""


def csv_rows(matching: Matching) -> Iterator[list[object]]:
    """The rows of a file with this HEADER."""
    for event in matching.each():
        yield [
            _utc(event.received_at),
            wording.EVENT_TYPES.get(event.type, event.type),
            event.type,
            event.inspection_id,
            event.inspection_title,
            event.previous_status,
            event.inspection_status,
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

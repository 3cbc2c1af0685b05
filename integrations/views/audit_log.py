"""The audit log of a customer, for its owners: who did what and when, filtered by the address, and as a file."""

from functools import partial

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts import audit
from accounts.access import OWNERS, current_user, customer_for
from accounts.models import AuditEntry, Customer
from integrations.views import activity, csv_response
from integrations.views.forms import AuditFilter

PAGE_SIZE = 50


@require_GET
def audit_log(request: HttpRequest, code: str) -> HttpResponse:
    """Newest first, a page at a time by the id of the last row (no counting)."""
    customer = customer_for(request, code, roles=OWNERS)
    form = _filter(request, customer)
    entries = form.entries(customer)
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 19:
        entries = entries.filter(pk__lt=int(before))
    found = list(entries.select_related("actor")[: PAGE_SIZE + 1])
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "form": form,
        "entries": activity.in_words(found[:PAGE_SIZE], customer, _connections(customer, found)),
        "older": found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else None,
        "query": query.urlencode(),
        "filtered": any(form.cleaned_data.values()) or bool(form.errors),
    }
    return render(request, "integrations/audit_log.html", context)


@require_GET
def export(request: HttpRequest, code: str) -> HttpResponseBase:
    """All entries that the same filter finds, as CSV."""
    customer = customer_for(request, code, roles=OWNERS)
    entries = _filter(request, customer).entries(customer)
    record = partial(audit.record, "audit.exported", customer=customer, actor=current_user(request))
    name, found = f"audit-{customer.code}.csv", activity.rows(entries)
    return csv_response.download(request, customer, name, activity.HEADER, found, record=record)


def _connections(customer: Customer, entries: list[AuditEntry]) -> dict[str, str]:
    """The names of the connections that these entries concern, by code."""
    concerned = customer.connections.filter(code__in={entry.subject for entry in entries})
    return {connection.code: connection.label for connection in concerned}


def _filter(request: HttpRequest, customer: Customer) -> AuditFilter:
    form = AuditFilter(request.GET, customer)
    form.is_valid()  # errors are shown beside their fields
    return form

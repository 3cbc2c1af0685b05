"""The audit trail of one connection, for the people of its customer: a page, and a file."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from accounts import audit
from accounts.access import current_user, customer_for
from accounts.models import AuditEntry, Customer
from integrations import wording
from integrations.models import Connection
from integrations.views import csv_response, states

ENTRIES_SHOWN = 200
HEADER = ["time (UTC)", "what", "who", "kind", "details"]


@require_GET
def activity(request: HttpRequest, code: str, connection_code: str) -> HttpResponse:
    """The newest entries about this connection, in words."""
    customer = customer_for(request, code)
    connection = get_object_or_404(customer.connections.shown(), code=connection_code)
    entries = in_words(_entries(connection).select_related("actor")[:ENTRIES_SHOWN], customer)
    context = {"connection": connection, "entries": entries, **states.shown(request, [connection], of=connection)}
    return render(request, "integrations/activity.html", context)


@require_GET
def export(request: HttpRequest, code: str, connection_code: str) -> HttpResponseBase:
    """All entries as CSV, row by row in constant memory."""
    customer = customer_for(request, code)
    connection = get_object_or_404(customer.connections, code=connection_code)
    user, name = current_user(request), f"activity-{connection.code}.csv"
    record = partial(audit.record, "activity.exported", customer=customer, actor=user, subject=connection.code)
    return csv_response.download(request, customer, name, HEADER, rows(_entries(connection)), record=record)


def in_words(
    entries: Iterable[AuditEntry], customer: Customer, connections: Mapping[str, str] = MappingProxyType({})
) -> list[tuple[AuditEntry, str, str, str]]:
    """Each entry with what happened, to whom, and the name of the connection concerned, as far as `connections` has it.

    connections: code -> name. To whom: the name of the person, or their address; empty if it is the actor.
    """
    names, rows = customer.names(), []
    for entry in entries:
        person = str(entry.detail.get("person") or "")
        whom = "" if person == entry.who else names.get(person, person)
        rows.append((entry, wording.activity(entry.kind), whom, connections.get(entry.subject, "")))
    return rows


def _entries(connection: Connection) -> "QuerySet[AuditEntry]":
    return AuditEntry.objects.filter(customer=connection.customer_id, subject=connection.code)


def rows(entries: "QuerySet[AuditEntry]") -> Iterator[list[object]]:
    """The rows of a file with this HEADER."""
    for entry in entries.iterator(chunk_size=500):
        details = ", ".join(f"{name}: {value}" for name, value in entry.detail.items() if value not in ("", None))
        yield [entry.at.isoformat(), wording.activity(entry.kind), entry.who, entry.kind, details]

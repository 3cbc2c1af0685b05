"""The audit log of a customer, for its owners: who did what and when, filtered by the address, and as a file."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts import audit
from accounts.access import OWNERS, current_user, customer_for
from accounts.models import AuditEntry, Customer
from integrations import wording
from integrations.views import activity, csv_files

PAGE = 50
LONGEST_NAME = 254


def _day(label: str) -> forms.DateField:
    reasonable = [MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2100, 1, 1))]
    return forms.DateField(
        label=label, required=False, validators=reasonable, widget=forms.DateInput(attrs={"type": "date"})
    )


class AuditFilter(forms.Form):
    """What of the audit log to show; everything may be left open."""

    SYSTEM = "system"

    kind = forms.ChoiceField(label="What", required=False, choices=[("", "Everything"), *wording.activity_choices()])
    person = forms.ChoiceField(label="Who", required=False)
    since = _day("From (UTC)")
    until = _day("To (UTC)")

    def __init__(self, data: QueryDict, *, people: Iterable[str]) -> None:
        super().__init__(data)
        # Who has left can still be looked for by address.
        asked = data.get("person", "")
        others = {asked} - {"", self.SYSTEM} if len(asked) <= LONGEST_NAME and "\0" not in asked else set()
        names = sorted({*people} | others)
        field = self.fields["person"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", "Everybody"), (self.SYSTEM, "The system"), *((name, name) for name in names)]


@never_cache
@require_GET
def audit_log(request: HttpRequest, code: str) -> HttpResponse:
    """Newest first, a page at a time by the id of the last row (no counting)."""
    customer = customer_for(request, code, roles=OWNERS)
    form = _filter(request, customer)
    entries = _chosen(customer, form)
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 19:
        entries = entries.filter(pk__lt=int(before))
    page = list(entries[: PAGE + 1])
    query = request.GET.copy()
    query.pop("before", None)
    return render(
        request,
        "integrations/audit_log.html",
        {
            "form": form,
            "entries": [(entry, wording.activity(entry.kind)) for entry in page[:PAGE]],
            "older": page[PAGE - 1].pk if len(page) > PAGE else None,
            "query": query.urlencode(),
            "filtered": any(form.cleaned_data.values()) or bool(form.errors),
        },
    )


@never_cache
@require_GET
def export(request: HttpRequest, code: str) -> StreamingHttpResponse:
    """All that the same filter finds, as CSV."""
    customer = customer_for(request, code, roles=OWNERS)
    entries = _chosen(customer, _filter(request, customer))
    audit.record("audit.exported", customer=customer, actor=current_user(request))
    return csv_files.download(f"audit-{customer.code}.csv", activity.HEADER, activity.rows(entries))


def _filter(request: HttpRequest, customer: Customer) -> AuditFilter:
    form = AuditFilter(request.GET, people=customer.memberships.values_list("user__email", flat=True))
    form.is_valid()  # what cannot be read is said beside its field, and does not filter
    return form


def _chosen(customer: Customer, form: AuditFilter) -> "QuerySet[AuditEntry]":
    chosen = form.cleaned_data
    entries = AuditEntry.objects.filter(customer=customer).order_by("-pk")
    if chosen.get("kind"):
        entries = entries.filter(kind=chosen["kind"])
    if chosen.get("person"):
        entries = entries.filter(actor_name="" if chosen["person"] == AuditFilter.SYSTEM else chosen["person"])
    if chosen.get("since"):
        entries = entries.filter(at__gte=_midnight(chosen["since"]))
    if chosen.get("until"):
        entries = entries.filter(at__lt=_midnight(chosen["until"]) + timedelta(days=1))
    return entries


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)

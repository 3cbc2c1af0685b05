"""The audit trail, in words."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import audit
from accounts.admin.base import LargeTableAdmin, changelist_url, link_column
from accounts.models import AuditEntry
from integrations import wording
from integrations.models import Connection


class About(admin.SimpleListFilter):
    title = "what it is about"
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return sorted(((code, label) for code, (label, _) in wording.GROUPS.items()), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: "QuerySet[AuditEntry]") -> "QuerySet[AuditEntry]":
        group = wording.GROUPS.get(self.value() or "")
        return queryset.filter(audit.of_kinds(group[1])) if group else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(LargeTableAdmin):
    list_display = ["at", "what", link_column("customer"), "who", "subject"]
    list_filter = [("at", admin.DateFieldListFilter), About]
    search_fields = ["=subject", "=kind", "=customer__code", "customer__name", "actor_name"]
    search_help_text = "Code of a connection or customer, a customer's name, or who did it."
    list_select_related = ["customer"]
    fields = ["at", "what", "customer", "who", "subject", "kind", "detail"]
    readonly_fields = ["what", "who"]

    def related(self, row: AuditEntry) -> Iterable[tuple[str, str]]:
        if row.subject:
            yield "The connection", changelist_url(Connection, code__exact=row.subject)
            yield "All about it", changelist_url(AuditEntry, subject__exact=row.subject)
        if row.customer_id:
            yield "All of this customer", changelist_url(AuditEntry, customer__id__exact=row.customer_id)

    @admin.display(description="what")
    def what(self, entry: AuditEntry) -> str:
        return wording.activity(entry.kind)

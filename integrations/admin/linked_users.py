"""Who has linked which SnapInspect user: what *Sign in with SnapInspect* goes by."""

from collections.abc import Iterable

from django.contrib import admin

from accounts.admin.base import ReadOnlyAdmin, changelist_url, link_column
from accounts.models import AuditEntry
from integrations.models import LinkedUser


@admin.register(LinkedUser)
class LinkedUserAdmin(ReadOnlyAdmin):
    list_display = ["vendor_user_id", "name", link_column("user"), "linked_at"]
    search_fields = ["=vendor_user_id", "name", "user__email"]
    search_help_text = "SnapInspect user ID, name or email address."
    date_hierarchy = "linked_at"
    list_select_related = ["user"]

    def related(self, row: LinkedUser) -> Iterable[tuple[str, str]]:
        yield "What they did", changelist_url(AuditEntry, actor__id__exact=row.user_id)

"""Who has linked which SnapInspect user: what *Sign in with SnapInspect* goes by."""

from collections.abc import Iterable

from django.contrib import admin

from accounts.admin.rows import Rows, linked, list_of
from accounts.models import AuditEntry
from integrations.models import LinkedUser


@admin.register(LinkedUser)
class LinkedUserAdmin(Rows):
    list_display = ["vendor_user_id", "name", linked("user"), "linked_at"]
    search_fields = ["=vendor_user_id", "name", "user__email"]
    search_help_text = "SnapInspect user ID or name there, e-mail address here."
    date_hierarchy = "linked_at"
    list_select_related = ["user"]

    def related(self, row: LinkedUser) -> Iterable[tuple[str, str]]:
        yield "What they did", list_of(AuditEntry, actor__id__exact=row.user_id)

"""What the operator's staff see. Nothing here can show, type or change a token."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from integrations.models import Check, ConnectAttempt, Connection, TokenPair


class ReadOnly(admin.ModelAdmin[Any]):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class TokenPairInline(admin.TabularInline[TokenPair, Connection]):
    model = TokenPair
    fields = [
        "role",
        "fingerprint",
        "key_id",
        "version",
        "received_at",
        "exchanged_at",
        "proved_at",
        "error_kind",
    ]
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Connection | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Connection | None = None) -> bool:
        return False


@admin.register(Connection)
class ConnectionAdmin(ReadOnly):
    list_display = ["label", "customer", "state", "company_id", "proved_at", "error_kind", "connected_by"]
    list_filter = ["state", "error_kind"]
    search_fields = ["=code", "=company_id", "company_name", "customer__name", "customer__code"]
    date_hierarchy = "created_at"
    list_select_related = ["customer", "connected_by"]
    inlines = [TokenPairInline]


@admin.register(ConnectAttempt)
class ConnectAttemptAdmin(ReadOnly):
    list_display = ["issued_at", "customer", "user", "connection", "used_at", "outcome"]
    list_filter = ["outcome"]
    search_fields = ["customer__name", "customer__code", "user__email"]
    date_hierarchy = "issued_at"
    list_select_related = ["customer", "user", "connection"]
    exclude = ["state_hash", "session_hash"]


@admin.register(Check)
class CheckAdmin(ReadOnly):
    list_display = ["at", "connection", "by", "error_kind", "duration"]
    list_filter = ["error_kind"]
    search_fields = ["=connection__code", "connection__customer__name"]
    date_hierarchy = "at"
    list_select_related = ["connection", "by"]

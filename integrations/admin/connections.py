"""Connections, the attempts that made them, and what tests of them found."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from accounts import audit
from accounts.admin.base import ReadOnlyAdmin, ReadOnlyInline, WordsFilter, changelist_url, link_column
from accounts.admin.confirmed_actions import confirmed
from accounts.models import AuditEntry, User
from integrations import wording
from integrations.calls import health_check
from integrations.connecting import disconnection
from integrations.models import (
    ConnectAttempt,
    Connection,
    ConnectionTest,
    Delivery,
    Event,
    Purpose,
    State,
    TokenPair,
    WebhookAddress,
)
from integrations.templatetags.connection_words import connection_badge

# Each of these waits for SnapInspect's answer.
MOST_CALLS = 20


class InWords:
    """Trouble as the sentence that customers read."""

    @admin.display(description="trouble", ordering="error_kind")
    def trouble(self, row: Connection | ConnectionTest) -> str:
        return wording.trouble(row.error_kind) or row.error_kind or "–"


class ErrorKind(WordsFilter):
    title = "trouble"
    parameter_name = "error_kind"
    words = wording.TROUBLE

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("any", "Any trouble"), *super().lookups(request, model_admin)]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        return queryset.exclude(error_kind="") if self.value() == "any" else super().queryset(request, queryset)


class TokenPairInline(ReadOnlyInline):
    model = TokenPair
    verbose_name_plural = "stored access (only a fingerprint is shown)"
    fields = ["role", "fingerprint", "key_id", "version", "received_at", "exchanged_at", "proved_at", "error_kind"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("sealed_access", "sealed_refresh", "room")


class WebhookAddressInline(ReadOnlyInline):
    model = WebhookAddress
    verbose_name_plural = "webhook addresses (only owners see them)"
    fields = ["created_at", "key_id", "valid_until"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("sealed_secret", "secret_hash")


@admin.register(Connection)
class ConnectionAdmin(InWords, ReadOnlyAdmin):
    list_display = [
        "label", "badge", link_column("customer"), "company_id", "trouble", "incident_since", "proved_at",
        link_column("connected_by"),
    ]  # fmt: skip
    list_filter = ["state", "kind", ErrorKind, ("incident_since", admin.EmptyFieldListFilter)]
    search_fields = ["=code", "=company_id", "company_name", "account_email", "customer__name", "=customer__code"]
    search_help_text = "Connection code, company ID or name, account, customer."
    date_hierarchy = "created_at"
    ordering = ["-pk"]
    fieldsets = [
        (None, {"fields": ["customer", "badge", "code", "kind", "connected_by"]}),
        ("What SnapInspect says", {"fields": ["company_id", "company_name", "account_name", "account_email"]}),
        ("Health", {"fields": [
            "trouble", "state_since", "incident_since", "proved_at", "next_check_at", "failed_checks", "refused_at",
            "notice", "next_notice_at",
        ]}),
        ("Dates", {"fields": ["created_at", "connected_at"]}),
    ]  # fmt: skip
    readonly_fields = ["badge", "trouble"]
    inlines = [TokenPairInline, WebhookAddressInline]
    actions = ["check_now", "replace_tokens", "require_reconnect", "disconnect"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Connection]":
        return Connection.objects.shown().select_related("customer", "connected_by").order_by(*self.ordering)

    @admin.display(description="state", ordering="state")
    def badge(self, connection: Connection) -> str:
        """What the customer's people see, as they see it."""
        return connection_badge(connection)

    def related(self, row: Connection) -> Iterable[tuple[str, str]]:
        yield "Its events", changelist_url(Event, connection__id__exact=row.pk)
        yield "Events that failed", changelist_url(Event, connection__id__exact=row.pk, state__exact=Event.State.FAILED)
        yield "Deliveries to its own address", changelist_url(Delivery, connection__id__exact=row.pk)
        yield "Tests", changelist_url(ConnectionTest, connection__id__exact=row.pk)
        yield "Attempts to connect", changelist_url(ConnectAttempt, connection__id__exact=row.pk)
        yield "Open the explorer", reverse("staff_explorer", args=[row.code])
        yield "Who did what", changelist_url(AuditEntry, subject__exact=row.code)

    @confirmed(
        "Check now",
        warning="A worker checks the stored access with SnapInspect within seconds.",
        limit=1000,
    )
    def check_now(self, connection: Connection, *, by: User) -> str:
        if connection.state == State.DISCONNECTED or not connection.pairs.current().exists():
            return "there is no access to check."
        audit.record("connection.check_asked", customer=connection.customer, actor=by, subject=connection.code)
        connection.check_soon()
        return ""

    @confirmed(
        "Replace tokens",
        warning="The stored tokens are exchanged at SnapInspect for new ones, and the old ones are dead from then on."
        " The customer notices nothing.",
        limit=MOST_CALLS,
    )
    def replace_tokens(self, connection: Connection, *, by: User) -> str:
        return wording.trouble(health_check.replace_tokens(connection, by=by))

    @confirmed(
        "Require reconnect",
        warning="The stored access is ended at SnapInspect and erased here, and the customer's owners are mailed that"
        " they have to connect again. Until then events are kept and wait.",
        limit=MOST_CALLS,
    )
    def require_reconnect(self, connection: Connection, *, by: User) -> str:
        if connection.state in {State.DISCONNECTED, State.NEEDS_RECONNECT}:
            return "it has to be connected anew already."
        disconnection.require_reconnect(connection, by=by)
        return ""

    @confirmed(
        "Disconnect",
        warning="The stored access is ended at SnapInspect, if it answers, and erased here in any case. Nothing new"
        " arrives until the customer connects again. Nobody is notified.",
        limit=MOST_CALLS,
    )
    def disconnect(self, connection: Connection, *, by: User) -> str:
        if connection.state == State.DISCONNECTED:
            return "it is disconnected already."
        disconnection.disconnect(connection, by=by)
        return ""


@admin.register(ConnectAttempt)
class ConnectAttemptAdmin(ReadOnlyAdmin):
    list_display = [
        "issued_at", "purpose", link_column("customer"), link_column("user"), link_column("connection"), "used_at",
        "outcome_words",
    ]  # fmt: skip
    list_filter = ["purpose", "used_at"]
    search_fields = ["=connection__code", "customer__name", "=customer__code", "user__email"]
    search_help_text = "Connection code, customer, or who pressed Connect."
    date_hierarchy = "issued_at"
    list_select_related = ["customer", "user", "connection"]
    exclude = ["state_hash", "session_hash", "outcome"]
    readonly_fields = ["outcome_words"]

    @admin.display(description="outcome")
    def outcome_words(self, attempt: ConnectAttempt) -> str:
        if not attempt.outcome:
            return "not finished"
        purpose = Purpose.CONNECT if attempt.purpose == Purpose.HOSTED else attempt.purpose
        return wording.ACTIVITY.get(f"{purpose}.{attempt.outcome}", attempt.outcome)


@admin.register(ConnectionTest)
class CheckAdmin(InWords, ReadOnlyAdmin):
    list_display = ["at", link_column("connection"), link_column("by"), "trouble", "duration"]
    list_filter = [ErrorKind]
    search_fields = ["=connection__code", "connection__customer__name"]
    date_hierarchy = "at"
    list_select_related = ["connection", "by"]
    readonly_fields = ["trouble"]
    exclude = ["error_kind"]

"""What the operator's staff see and may do. Nothing here can show, type or change a token."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts.access import person
from integrations import health, inbox, panel_admin, tasks, wording
from integrations.models import Attempt, Check, ConnectAttempt, Connection, Delivery, Event, State, TokenPair

__all__ = ["panel_admin"]  # Django looks for admin pages in this module alone

# An action that asks SnapInspect waits for each answer; more than this would outlast the browser's patience.
MOST_AT_ONCE = 20


class ReadOnly(admin.ModelAdmin[Any]):
    """Rows are looked at here, and changed by actions only, each of which says in the audit trail who it was."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Actions need the permission that a form would need, if there were one."""
        return person(request).has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")


class TokenPairInline(admin.TabularInline[TokenPair, Connection]):
    model = TokenPair
    fields = ["role", "fingerprint", "key_id", "version", "received_at", "exchanged_at", "proved_at", "error_kind"]
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Connection | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Connection | None = None) -> bool:
        return False


@admin.register(Connection)
class ConnectionAdmin(ReadOnly):
    list_display = ["label", "customer", "kind", "state", "company_id", "proved_at", "error_kind", "connected_by"]
    list_filter = ["state", "kind", "error_kind"]
    search_fields = ["=code", "=company_id", "company_name", "customer__name", "customer__code"]
    date_hierarchy = "created_at"
    list_select_related = ["customer", "connected_by"]
    readonly_fields = ["explorer"]
    inlines = [TokenPairInline]
    actions = ["check_now", "replace_tokens"]

    @admin.display(description="API explorer")
    def explorer(self, connection: Connection) -> str:
        return format_html('<a href="{}">Ask SnapInspect</a>', reverse("staff_explorer", args=[connection.code]))

    @admin.action(description="Check now", permissions=["act"])
    def check_now(self, request: HttpRequest, chosen: "QuerySet[Connection]") -> None:
        due = chosen.exclude(state=State.DISCONNECTED).exclude(next_check_at=None).update(next_check_at=Now())
        tasks.nudge()
        self.message_user(request, f"{due} connections are being checked; reload to see the result.")

    @admin.action(description="Replace tokens", permissions=["act"])
    def replace_tokens(self, request: HttpRequest, chosen: "QuerySet[Connection]") -> None:
        for connection in chosen.select_related("customer")[:MOST_AT_ONCE]:
            error_kind = health.replace_tokens(connection, by=person(request))
            level = messages.WARNING if error_kind else messages.SUCCESS
            said = wording.trouble(error_kind) if error_kind else "The tokens were replaced."
            self.message_user(request, f"{connection.label} ({connection.customer}): {said}", level)


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


class AssignForm(ActionForm):
    connection_code = forms.CharField(required=False, label="Connection code (to assign)", max_length=16)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly):
    list_display = ["received_at", "state", "problem", "type", "inspection_id", "company_id", "came_to", "assigned_to"]
    list_filter = ["state", "problem", "type"]
    search_fields = ["=inspection_id", "=company_id"]
    date_hierarchy = "received_at"
    list_select_related = ["assigned_to"]
    show_full_result_count = False
    fields = ["received_at", "state", "problem", "type", "inspection_id", "review_id", "company_id", "came_to"]
    readonly_fields = ["came_to", "raw"]
    action_form = AssignForm
    actions = ["read_again", "assign", "set_aside"]

    def get_fields(self, request: HttpRequest, obj: Delivery | None = None) -> list[Any]:
        return [*self.fields, "raw"]

    @admin.display(description="body, as it came")
    def raw(self, delivery: Delivery) -> str:
        return bytes(delivery.body).decode("utf-8", "backslashreplace")

    @admin.action(description="Read and place again", permissions=["act"])
    def read_again(self, request: HttpRequest, chosen: "QuerySet[Delivery]") -> None:
        count = inbox.read_again(chosen, by=person(request))
        tasks.nudge()
        self.message_user(request, f"{count} deliveries are being read again.")

    @admin.action(description="Assign to the connection with this code", permissions=["act"])
    def assign(self, request: HttpRequest, chosen: "QuerySet[Delivery]") -> None:
        code = request.POST.get("connection_code", "").strip()
        connection = Connection.objects.select_related("customer").filter(code=code).first()
        if connection is None:
            self.message_user(request, "No connection has this code.", messages.ERROR)
            return
        count = sum(inbox.assign(delivery, connection, by=person(request)) for delivery in chosen)
        tasks.nudge()
        self.message_user(request, f"{count} deliveries were assigned to {connection.label} ({connection.customer}).")

    @admin.action(description="Ignore", permissions=["act"])
    def set_aside(self, request: HttpRequest, chosen: "QuerySet[Delivery]") -> None:
        self.message_user(request, f"{inbox.set_aside(chosen, by=person(request))} deliveries are ignored.")


class AttemptInline(admin.TabularInline[Attempt, Event]):
    model = Attempt
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False


@admin.register(Event)
class EventAdmin(ReadOnly):
    list_display = [
        "received_at",
        "connection",
        "type",
        "inspection_id",
        "state",
        "attempts",
        "last_error_kind",
        "proof",
    ]
    list_filter = ["state", "proof", "recovered", "last_error_kind", "type"]
    search_fields = ["=code", "=inspection_id", "=connection__code", "=company_id"]
    date_hierarchy = "received_at"
    list_select_related = ["connection"]
    show_full_result_count = False
    exclude = ["repeat_of"]
    inlines = [AttemptInline]
    actions = ["replay", "ignore"]

    @admin.action(description="Replay", permissions=["act"])
    def replay(self, request: HttpRequest, chosen: "QuerySet[Event]") -> None:
        count = sum(inbox.replay(event, by=person(request)) for event in chosen.iterator())
        tasks.nudge()
        self.message_user(request, f"{count} events are being processed again.")

    @admin.action(description="Ignore", permissions=["act"])
    def ignore(self, request: HttpRequest, chosen: "QuerySet[Event]") -> None:
        count = sum(inbox.ignore(event, by=person(request)) for event in chosen.iterator())
        self.message_user(request, f"{count} events are ignored.")

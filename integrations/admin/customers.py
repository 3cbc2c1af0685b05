"""A customer with all that belongs to it: what staff look at first when somebody calls."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from accounts.admin.base import RowAdmin, changelist_url
from accounts.admin.confirmed_actions import TIME_LIMIT, confirmed
from accounts.admin.invitations import InvitationInline, OwnerInvitationAdmin
from accounts.admin.people import MembershipAuditAdmin, MembershipInline
from accounts.models import AuditEntry, Customer, User
from integrations import wording
from integrations.connecting import customer_deletion, disconnection
from integrations.models import ConnectAttempt, Connection, Event

NEWEST = 10
MOST_CONNECTIONS = 50
# Disconnects in one request: each may wait for SnapInspect.
MOST_AT_ONCE = 5


@admin.register(Customer)
class CustomerAdmin(MembershipAuditAdmin, OwnerInvitationAdmin, RowAdmin):
    list_display = ["name", "code", "created_at"]
    search_fields = ["name", "=code", "memberships__user__email", "=connections__company_id"]
    search_help_text = "Name, code, a person's email address, or a company ID of SnapInspect."
    readonly_fields = ["code", "created_at"]
    date_hierarchy = "created_at"
    inlines = [MembershipInline, InvitationInline]
    change_form_template = "admin/customer.html"
    actions = ["disconnect_all", "delete_customers"]

    def related(self, row: Customer) -> Iterable[tuple[str, str]]:
        yield "All its connections", changelist_url(Connection, customer__id__exact=row.pk)
        yield "All its events", changelist_url(Event, connection__customer__id__exact=row.pk)
        failed = {"connection__customer__id__exact": row.pk, "state__exact": Event.State.FAILED}
        yield "Events that failed", changelist_url(Event, **failed)
        yield "Attempts to connect", changelist_url(ConnectAttempt, customer__id__exact=row.pk)
        yield "Who did what", changelist_url(AuditEntry, customer__id__exact=row.pk)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        customer = context.get("original")
        if isinstance(customer, Customer) and not context.get("is_popup"):
            events = Event.objects.filter(connection__customer=customer).select_related("connection").defer("content")
            entries = customer.audit_entries.all()[:NEWEST]
            context |= {
                "connections": list(customer.connections.shown()[:MOST_CONNECTIONS]),
                "events": list(events.order_by("-pk")[:NEWEST]),
                "entries": [(entry, wording.activity(entry.kind)) for entry in entries],
            }
        return super().render_change_form(request, context, *args, **kwargs)

    @confirmed(
        "Disconnect all",
        warning="The access to every SnapInspect account of these customers is ended at SnapInspect, if it answers,"
        " and erased here in any case.",
        limit=1,
        details=lambda customer: [str(connection) for connection in customer_deletion.still_connected(customer)],
    )
    def disconnect_all(self, customer: Customer, *, by: User) -> str:
        left = customer_deletion.still_connected(customer)
        if not left:
            return "nothing is connected."
        for connection in left[:MOST_AT_ONCE]:
            disconnection.disconnect(connection, by=by)
        return f"{len(left) - MOST_AT_ONCE} are left. Run this again." if len(left) > MOST_AT_ONCE else ""

    @confirmed(
        "Delete",
        warning="Everything of these customers is deleted, their part of the audit trail included, and cannot be"
        " brought back. People stay, and keep their other customers. One line stays: that it was deleted, when, and"
        " by whom.",
        limit=5,
        permission="superuser",
        details=lambda customer: [
            *(f"{count} {what}" for what, count in customer_deletion.counts(customer).items()),
            *(
                f"{connection} is still connected: disconnect all first"
                for connection in customer_deletion.still_connected(customer)
            ),
        ],
    )
    def delete_customers(self, customer: Customer, *, by: User) -> str:
        if customer_deletion.still_connected(customer):
            return "disconnect all first, so that its tokens are ended at SnapInspect."
        return (
            ""
            if customer_deletion.delete(customer, by=by, seconds=TIME_LIMIT)
            else "it takes longer. Run this again to continue."
        )

"""Webhook endpoints and their deliveries, to be looked at. The staff pages below staff/webhooks/ change them."""

from collections.abc import Iterable

from django.contrib import admin
from django.urls import reverse

from accounts.admin.base import LargeTableAdmin, ReadOnlyAdmin, ReadOnlyInline, changelist_url, link_column
from integrations.models import DeliveryTry, OutgoingDelivery, WebhookEndpoint


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    list_display = ["code", "url", link_column("customer"), "state", "off_reason", "delivered_at", "failing_since"]
    list_filter = ["state", "off_reason"]
    search_fields = ["=code", "url", "description", "customer__name"]
    search_help_text = "Code, URL, description or a customer's name."
    list_select_related = ["customer"]
    fields = [
        "code", "customer", "url", "types", "description", "header_names", "state", "off_reason", "state_since",
        "created_at", "created_by", "old_secret_until", "delivered_at", "failing_since", "wait_until", "waits",
    ]  # fmt: skip
    readonly_fields = ["code"]

    def related(self, row: WebhookEndpoint) -> Iterable[tuple[str, str]]:
        yield "Its page, with everything that can be done", reverse("staff_webhook_endpoint", args=[row.code])
        yield "Deliveries", changelist_url(OutgoingDelivery, endpoint__id__exact=row.pk)


class DeliveryTryInline(ReadOnlyInline):
    model = DeliveryTry
    verbose_name_plural = "tries"
    fields = ["at", "status", "error_kind", "duration", "answer_headers", "answer"]


@admin.register(OutgoingDelivery)
class OutgoingDeliveryAdmin(LargeTableAdmin):
    list_display = ["code", "type", link_column("endpoint"), "state", "tries", "next_try_at", "delivered_at"]
    list_filter = ["state"]
    search_fields = ["=code", "=message__code"]
    search_help_text = "Code of the delivery, or its webhook-id without “msg_”."
    list_select_related = ["endpoint", "message"]
    allowed_lookups = ("endpoint__id__exact",)
    fields = ["code", "type", "webhook_id", "endpoint", "state", "tries", "next_try_at", "delivered_at", "body"]
    readonly_fields = ["code", "type", "webhook_id", "body"]
    inlines = [DeliveryTryInline]

    def related(self, row: OutgoingDelivery) -> Iterable[tuple[str, str]]:
        yield "Its page", reverse("staff_webhook_delivery", args=[row.endpoint.code, row.code])

    @admin.display(description="type")
    def type(self, row: OutgoingDelivery) -> str:
        return row.message.type

    @admin.display(description="webhook-id")
    def webhook_id(self, row: OutgoingDelivery) -> str:
        return row.message.webhook_id

    @admin.display(description="body")
    def body(self, row: OutgoingDelivery) -> str:
        return row.message.body

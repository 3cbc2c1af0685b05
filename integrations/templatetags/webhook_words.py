"""Webhook endpoints and deliveries in words, for templates; and the addresses of their pages."""

from typing import Any

from django import template
from django.template import Context
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.templatetags.icons import icon
from integrations.models import OutgoingDelivery, WebhookEndpoint
from integrations.outgoing import sender

register = template.Library()

State, Delivery = WebhookEndpoint.State, OutgoingDelivery.State
LOOKS: dict[str, tuple[str, str]] = {
    State.ON: ("check-circle", "success"),
    State.PAUSED: ("pause", "secondary"),
    State.OFF: ("x-circle", "danger"),
    Delivery.WAITING: ("clock", "info"),
    Delivery.DELIVERED: ("check-circle", "success"),
    Delivery.FAILED: ("x-circle", "danger"),
    Delivery.HELD: ("slash-circle", "secondary"),
}
FAILING = ("Failing", "exclamation-triangle", "warning")


@register.simple_tag(takes_context=True)
def webhook_url(context: Context, name: str, *codes: str) -> str:
    """The address of a page about webhooks, on the side of the customer or of staff."""
    customer = context.get("customer")
    return reverse(name, args=[customer.code, *codes]) if customer else reverse(f"staff_{name}", args=codes)


@register.filter
def webhook_state(row: WebhookEndpoint | OutgoingDelivery) -> SafeString:
    """The state as a word with an icon. No badge: badges are states of connections and events."""
    label, (symbol, tone) = row.get_state_display(), LOOKS[row.state]
    if isinstance(row, WebhookEndpoint) and row.state == State.ON and row.failing_since:
        label, symbol, tone = FAILING
    return format_html(
        '<span class="text-nowrap text-{}-emphasis">{} <span>{}</span></span>', tone, icon(symbol), label
    )


@register.filter
def why_unsent(kind: str) -> str:
    """Why there is no answer to a try, as a sentence."""
    return sender.REASONS.get(kind, "Sending failed because of an error in this app.")


@register.filter
def header_lines(headers: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in headers.items())

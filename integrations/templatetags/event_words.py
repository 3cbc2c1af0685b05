"""An event in words and symbols, for templates."""

from collections.abc import Sequence
from functools import cache

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.templatetags.icons import badge, icon
from integrations import wording
from integrations.models import Delivery, Event
from integrations.snapinspect import json_text, webhook_body

register = template.Library()
register.filter(wording.event_trouble)

# Characters. In HTML one may become six, and a page shows up to MOST_DELIVERIES bodies.
LONGEST_CONTENT = 50_000
LONGEST_BODY = 5_000

# Icon and tone of each state; the word itself is the state's label.
LOOKS = {
    Event.State.RECEIVED: ("inbox", "info"),
    Event.State.PROCESSING: ("hourglass-split", "info"),
    Event.State.RETRYING: ("arrow-repeat", "warning"),
    Event.State.DONE: ("check-circle", "success"),
    Event.State.FAILED: ("x-circle", "danger"),
    Event.State.UNMATCHED: ("question-circle", "secondary"),
    Event.State.IGNORED: ("slash-circle", "secondary"),
}


@register.simple_tag
def event_badge(event: Event) -> SafeString:
    state = Event.State(event.state)
    return badge(state.label, *LOOKS[state])


@register.simple_tag
def event_word(event: Event) -> SafeString:
    """The state in a line of text: the badges of a dashboard are those of its connections."""
    return _word(Event.State(event.state))


@cache
def _word(state: Event.State) -> SafeString:
    symbol, tone = LOOKS[state]
    return format_html('<span class="small text-nowrap text-{}-emphasis">{} {}</span>', tone, icon(symbol), state.label)


@register.filter
def event_type(value: str) -> str:
    """The type in plain words where we know it; as it came where we do not."""
    return wording.EVENT_TYPES.get(value, value or "Inspection event")


@register.filter
def status_change(event: Event) -> str:
    """From which status to which, for an event that is about it."""
    return wording.status_change(event.type, before=event.previous_status, now=event.inspection_status)


@register.simple_tag
def event_summary(event: Event, deliveries: Sequence[Delivery]) -> str:
    """What has happened, as one sentence."""
    return wording.event_summary(
        event.type,
        event.inspection_id,
        title=event.inspection_title,
        change=status_change(event),
        whose=event.connection.label,
        times=len(deliveries),
        is_verified=event.proof == Event.Proof.VERIFIED,
    )


@register.filter
def event_sentence(event: Event) -> str:
    return wording.event_sentence(
        event.state,
        attempts=event.attempts,
        most=event.most_attempts,
        waits_for="" if event.connection.is_usable else event.connection.label,
    )


@register.filter
def pretty_text(value: str) -> str:
    """JSON laid out readably; anything else as it is."""
    return json_text.text_laid_out(value, most=LONGEST_CONTENT)


@register.filter
def pretty_body(body: bytes | memoryview) -> str:
    """A delivery's raw bytes for reading: decompressed, and what is no text as escapes."""
    return json_text.text_laid_out(webhook_body.readable_text(bytes(body)), most=LONGEST_BODY)


@register.filter
def unread_part(body: bytes | memoryview) -> str:
    """Which part of a delivery could not be read, as a sentence; empty where all of it was."""
    try:
        problem = webhook_body.read(bytes(body))[0].problem
    except webhook_body.Unreadable as unreadable:
        problem = unreadable.problem
    return wording.DELIVERY_TROUBLE.get(problem, "")

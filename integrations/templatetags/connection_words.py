"""A connection in words and symbols, for templates."""

from datetime import timedelta
from typing import Any

from django import template
from django.utils.safestring import SafeString

from accounts.templatetags.icons import badge
from integrations import wording
from integrations.models import Connection, State
from integrations.snapinspect import json_text

register = template.Library()
register.filter(wording.trouble)
register.filter(wording.panel_trouble)
register.simple_tag(wording.company)
register.simple_tag(wording.company_in_short)

LONGEST_ANSWER = 50_000  # characters

# Icon and tone of each state; the word itself is State's label.
LOOKS = {
    State.CONNECTING: ("arrow-repeat", "info"),
    State.CONNECTED: ("check-circle", "success"),
    State.TROUBLE: ("exclamation-triangle", "warning"),
    State.NEEDS_RECONNECT: ("plug", "danger"),
    State.DISCONNECTED: ("x-circle", "secondary"),
    State.SETUP_PROBLEM: ("tools", "danger"),
}


@register.simple_tag
def connection_badge(connection: Connection) -> SafeString:
    state = connection.badge
    return badge(state.label, *LOOKS[state])


@register.filter
def pretty_json(value: Any) -> str:
    shown, is_cut = json_text.laid_out(value, most=LONGEST_ANSWER)
    return shown + json_text.CUT if is_cut else shown


@register.filter
def in_milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)

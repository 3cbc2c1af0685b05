"""Moments in templates; a tag, because an included template took as long as the rest of a row."""

from datetime import datetime

from django import template
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

register = template.Library()


@register.simple_tag
def moment(at: datetime | None, empty: str = "") -> str:
    """The exact time in the visitor's zone, for app.js to say how long ago it was; `empty` or "never" without one."""
    if not at:
        return empty or "never"
    local = localtime(at)
    # Not by Django's date format, which takes five times as long. There is nothing to escape in a moment.
    shown = f"{local.day} {local:%b %Y %H:%M %Z}"
    return SafeString(f'<time datetime="{local.isoformat()}" data-relative>{shown}</time>')

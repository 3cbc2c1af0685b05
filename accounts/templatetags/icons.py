"""Icons of static/vendor/icons.svg. A page has some twenty: a template included for each took a tenth of its time."""

from functools import cache

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """A symbol of the sprite; always decoration, so words stand beside it."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>', _sprite(), name
    )


@cache
def _sprite() -> str:
    """Its address, which holds a hash of what is in it: the same for as long as a process runs."""
    return static("vendor/icons.svg")

"""Icons of static/vendor/icons.svg; a tag, because an included template took a tenth of a page's time."""

from functools import cache

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """A symbol of the sprite; decoration only, so words have to stand beside it."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>', _sprite(), name
    )


@cache
def _sprite() -> str:
    """The URL of the sprite; it holds a hash of the content and does not change while a process runs."""
    return static("vendor/icons.svg")

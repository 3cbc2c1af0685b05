"""Icons of static/vendor/icons.svg, and badges; tags, because included templates took a tenth of a page's time.

Both are the same for everybody, so each is written once in a process.
"""

from functools import cache

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
@cache
def icon(name: str) -> SafeString:
    """A symbol of the sprite; decoration only, so words have to stand beside it."""
    sprite = static("vendor/icons.svg")
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>', sprite, name
    )


@cache
def badge(label: str, symbol: str, tone: str) -> SafeString:
    """A state in words: the element with data-badge holds exactly the word, the icon stands beside it.

    tone: success, warning, danger, info, primary or secondary.
    """
    return format_html(
        '<span class="badge rounded-pill d-inline-flex align-items-center gap-1 border border-{}-subtle bg-{}-subtle'
        ' text-{}-emphasis">{}<span data-badge>{}</span></span>',
        tone, tone, tone, icon(symbol), label,
    )  # fmt: skip

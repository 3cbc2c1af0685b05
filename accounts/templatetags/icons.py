"""Icons of static/vendor/icons.svg, and badges; tags, because included templates took a tenth of a page's time.

Both are the same for everybody, so each is written once in a process.
"""

from functools import cache

from django import template
from django.template import Context
from django.template.base import FilterExpression, Node, Parser, TextNode, Token
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@cache
def icon(name: str) -> SafeString:
    """A symbol of the sprite; decoration only, so words have to stand beside it."""
    sprite = static("vendor/icons.svg")
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>', sprite, name
    )


@register.tag(name="icon")
def _icon(parser: Parser, token: Token) -> Node:
    """The tag: `{% icon "name" %}`. Where the name is written in the template, so is the icon, once."""
    _, argument = token.split_contents()
    name = parser.compile_filter(argument)
    return _IconNode(name) if name.is_var or name.filters else TextNode(icon(name.var))


class _IconNode(Node):
    def __init__(self, name: FilterExpression) -> None:
        self._name = name

    def render(self, context: Context) -> SafeString:
        return icon(self._name.resolve(context))


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

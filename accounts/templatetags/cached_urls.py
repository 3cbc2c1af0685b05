"""The tags `url` and `static`, which look each URL up once in a process: dozens of them were a tenth of a page's time.

In place of Django's in every template that does not load another, see TEMPLATES in the settings.
"""

from functools import lru_cache
from typing import Any

from django import template
from django.conf import settings
from django.template import Context
from django.template.base import Node, Parser, TextNode, Token
from django.template.defaulttags import URLNode
from django.template.defaulttags import url as parse_url
from django.templatetags.static import StaticNode
from django.urls import NoReverseMatch, reverse
from django.utils.html import escape
from django.utils.safestring import SafeString

register = template.Library()
MOST_URLS = 5000
# Types of arguments whose URLs are kept.
_KEPT = frozenset({str, int, SafeString})


def reversed_once(name: str, args: tuple[Any, ...]) -> str:
    """The same as `reverse(name, args=args)`; marked as safe where HTML needs nothing of it escaped."""
    return _reversed(settings.ROOT_URLCONF, name, args)  # no request has URLs of its own


@lru_cache(maxsize=MOST_URLS, typed=True)
def _reversed(urlconf: str, name: str, args: tuple[Any, ...]) -> str:
    found = reverse(name, urlconf, args)
    return SafeString(found) if escape(found) == found else found


class CachedURLNode(URLNode):
    def render(self, context: Context) -> str:
        name = self.view_name.resolve(context)
        args = tuple([arg.resolve(context) for arg in self.args])
        # A namespace depends on the request, too; and an object may not be hashable.
        if self.kwargs or ":" in name or not _KEPT.issuperset(map(type, args)):
            return str(super().render(context))
        found = ""
        try:
            found = reversed_once(name, args)
        except NoReverseMatch:
            if self.asvar is None:
                raise
        if self.asvar:
            context[self.asvar] = found
            return ""
        return found if isinstance(found, SafeString) or not context.autoescape else escape(found)


@register.tag
def static(parser: Parser, token: Token) -> Node:
    """Django's tag. The URL of a file that the template names is looked up once, when the template is read."""
    node = StaticNode.handle_token(parser, token)
    if node.varname or node.path.is_var:
        return node
    return TextNode(escape(node.url(Context())))


@register.tag
def url(parser: Parser, token: Token) -> CachedURLNode:
    """Django's tag, with the same arguments."""
    node = parse_url(parser, token)
    return CachedURLNode(node.view_name, node.args, node.kwargs, node.asvar)

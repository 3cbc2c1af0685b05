"""The tag `url`, which looks each URL up once in a process: reversing dozens of them was a tenth of a page's time.

In place of Django's in every template, see TEMPLATES in the settings.
"""

from functools import lru_cache
from typing import Any

from django import template
from django.conf import settings
from django.template import Context
from django.template.base import Parser, Token
from django.template.defaulttags import URLNode
from django.template.defaulttags import url as parse_url
from django.urls import NoReverseMatch, reverse
from django.utils.html import conditional_escape

register = template.Library()
MOST_URLS = 5000


def reversed_once(name: str, args: tuple[Any, ...]) -> str:
    """The same as `reverse(name, args=args)`."""
    return _reversed(settings.ROOT_URLCONF, name, args)  # no request has URLs of its own


@lru_cache(maxsize=MOST_URLS, typed=True)
def _reversed(urlconf: str, name: str, args: tuple[Any, ...]) -> str:
    return reverse(name, urlconf, args)


class CachedURLNode(URLNode):
    def render(self, context: Context) -> str:
        name = self.view_name.resolve(context)
        args = tuple(arg.resolve(context) for arg in self.args)
        # A namespace depends on the request, too; and an object may not be hashable.
        if self.kwargs or ":" in name or not all(isinstance(arg, str | int) for arg in args):
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
        return str(conditional_escape(found)) if context.autoescape else found


@register.tag
def url(parser: Parser, token: Token) -> CachedURLNode:
    """Django's tag, with the same arguments."""
    node = parse_url(parser, token)
    return CachedURLNode(node.view_name, node.args, node.kwargs, node.asvar)

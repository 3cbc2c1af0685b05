"""The tag `extends`, which lists the blocks of a parent once: Django looks through all its nodes for every page.

In place of Django's in every template, see TEMPLATES in the settings.
"""

from functools import cached_property
from typing import Any

from django import template
from django.template import Context, Template
from django.template.base import Node, NodeList, Parser, Token
from django.template.loader_tags import BlockNode, ExtendsNode, do_extends

register = template.Library()


class _ParentNodes(NodeList):
    """The nodes of a template that is read already: they do not change any more."""

    @cached_property
    def _blocks(self) -> list[Node]:
        return super().get_nodes_by_type(BlockNode)

    def get_nodes_by_type(self, nodetype: type[Any]) -> list[Any]:
        return self._blocks if nodetype is BlockNode else super().get_nodes_by_type(nodetype)


class _ExtendsNode(ExtendsNode):
    def get_parent(self, context: Context) -> Template:
        parent = super().get_parent(context)
        if not isinstance(parent.nodelist, _ParentNodes):
            parent.nodelist = _ParentNodes(parent.nodelist)
        return parent


@register.tag
def extends(parser: Parser, token: Token) -> Node:
    """Django's tag, with the same argument."""
    node = do_extends(parser, token)
    return _ExtendsNode(node.nodelist, node.parent_name)

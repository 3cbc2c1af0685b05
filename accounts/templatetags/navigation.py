"""The navigation of a customer's pages."""

from typing import Any

from django import template
from django.template import Context
from django.urls import reverse

register = template.Library()
HOME = "dashboard"


@register.inclusion_tag("partials/nav_link.html", takes_context=True)
def nav_link(context: Context, name: str, label: str, icon: str, *also: str) -> dict[str, Any]:
    """One link of a customer's navigation. `name` is a URL name whose only argument is the customer's code.

    The link is marked on its page and on all pages below it, and below the URLs named by `also`. The dashboard, which
    all pages are below, is marked on its own page only.
    """
    url = reverse(name, args=[context["customer"].code])
    path = context["request"].path
    below = name != HOME and path.startswith((url, *(reverse(page, args=[context["customer"].code]) for page in also)))
    here = "page" if path == url else "true" if below else ""
    return {"url": url, "label": label, "icon": icon, "here": here}

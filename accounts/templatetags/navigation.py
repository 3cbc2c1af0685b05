"""The header of every page, and the navigation of a customer's pages.

Both stand on every page and are a good part of its cost: links are written by a tag, and menus are kept as long as they
say the same.
"""

from functools import lru_cache
from typing import NamedTuple

from django import template
from django.conf import settings
from django.template import Context
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.templatetags.cached_urls import MOST_URLS, reversed_once
from accounts.templatetags.icons import icon

register = template.Library()
HOME = "dashboard"
# Of so many people are the menus kept, at about 4 kB each.
MOST_MENUS = 500


@register.simple_tag(takes_context=True)
def nav_link(context: Context, name: str, label: str, symbol: str, *also: str) -> SafeString:
    """One link of a customer's navigation. `name` is a URL name whose only argument is the customer's code.

    The link is marked on its page and on all pages below it, and below the URLs named by `also`. The dashboard, which
    all pages are below, is marked on its own page only.
    """
    code = context["customer"].code
    url = reversed_once(name, (code,))
    path = context["request"].path
    below = name != HOME and path.startswith((url, *(reversed_once(page, (code,)) for page in also)))
    return link(url, label, symbol, here="page" if path == url else "true" if below else "")


@register.simple_tag(name="nav_link_to")
@lru_cache(maxsize=MOST_URLS)
def link(url: str, label: str, symbol: str, here: str = "") -> SafeString:
    """One link of a navigation. here: `page` on its page, `true` below it."""
    return format_html(
        '<li class="nav-item"><a class="nav-link{}" href="{}"{}>{} {}</a></li>',
        " active" if here else "",
        url,
        format_html(' aria-current="{}"', here) if here else "",
        icon(symbol),
        label,
    )


class Company(NamedTuple):
    """One that the visitor belongs to."""

    code: str
    name: str


class Menus(NamedTuple):
    """All that the menus of the header depend on: whoever sees something else has another one."""

    email: str
    name: str
    is_staff: bool
    companies: tuple[Company, ...]
    company: Company | None
    sign_in_with_snapinspect: bool
    signup_open: bool


@register.simple_tag(takes_context=True)
def header_menus(context: Context) -> SafeString:
    """The menus of a signed-in person: their companies, their account."""
    user, customer = context["user"], context["customer"]
    return _written(
        Menus(
            email=user.email,
            name=user.display_name,
            is_staff=user.is_staff,
            companies=tuple(Company(one.code, one.name) for one in context["customers"]),
            company=Company(customer.code, customer.name) if customer else None,
            sign_in_with_snapinspect=context["sign_in_with_snapinspect"],
            signup_open=settings.SIGNUP_OPEN,
        )
    )


@lru_cache(maxsize=MOST_MENUS)
def _written(menus: Menus) -> SafeString:
    return render_to_string("partials/header_menus.html", menus._asdict())

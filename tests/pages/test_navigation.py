"""What stands above every page of a customer: where one can go, and whether somebody has to do something."""

import html
import re
from collections.abc import Callable

import pytest
from django.db import connection as database
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch

from accounts.models import Customer, User
from accounts.templatetags import navigation
from integrations.models import Connection, State
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db
Visit = Callable[[User], Visitor]


def marked(page: str) -> list[str]:
    """The labels of the links that say "you are here"."""
    return re.findall(r"aria-current=[^>]*>\s*<svg.*?</svg>\s*(\w+)", page, re.S)


def needy(customer: Customer, number: int = 1) -> None:
    for company in range(number):
        Connection.objects.create(customer=customer, company_id=str(company), state=State.NEEDS_RECONNECT)


def test_the_link_of_the_page_one_is_on_is_marked_and_so_is_that_of_a_page_below_it(
    visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    assert marked(browser.get(f"/c/{acme.code}/").text) == ["Dashboard"]
    assert marked(browser.get(f"/c/{acme.code}/events/").text) == ["Events"]


def test_every_page_of_a_customer_says_when_a_connection_needs_a_person(
    visit: Visit, alice: User, acme: Customer, charlie: User
) -> None:
    browser = visit(alice)
    pages = [f"/c/{acme.code}/", f"/c/{acme.code}/events/"]
    needy(charlie.customers.get())
    assert not any("need a person" in browser.get(page).text for page in pages)

    needy(acme, 2)
    for page in pages:
        assert "2 connections</strong> need your attention" in browser.get(page).text


def test_the_banner_costs_one_query_however_many_connections_need_a_person(
    visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    browser.get(f"/c/{acme.code}/events/")
    counted = []
    for number in (2, 30):  # with a single one the list of events is simpler
        Connection.objects.all().delete()
        needy(acme, number)
        with CaptureQueriesContext(database) as queries:
            browser.get(f"/c/{acme.code}/events/")
        counted.append(len(queries))
    assert counted[0] == counted[1]


def test_the_kept_menus_are_those_of_this_person_at_this_moment(
    visit: Visit, alice: User, bob: User, acme: Customer, charlie: User
) -> None:
    navigation._written.cache_clear()
    page = f"/c/{acme.code}/"
    mine, theirs = visit(alice), visit(bob)
    assert [person.email in mine.get(page).text for person in (alice, bob)] == [True, False]
    assert [person.email in theirs.get(page).text for person in (alice, bob)] == [False, True]
    other = charlie.customers.get()
    assert other.name not in html.unescape(mine.get(page).text)

    User.objects.filter(pk=alice.pk).update(is_staff=True)
    other.memberships.create(user=alice, role="viewer")
    Customer.objects.filter(pk=acme.pk).update(name="Acme with another name")
    text = html.unescape(mine.get(page).text)
    assert "Administration" in text
    assert other.name in text
    assert text.count("Acme with another name") > 2
    for _ in range(3):
        mine.get(page)
    assert navigation._written.cache_info().misses == 3


def test_addresses_that_are_looked_up_once_are_those_that_django_finds() -> None:
    context = Context({"name": "dashboard", "code": "abc"})
    for source, expected in (
        ("{% url 'event' 'one' 'two' %}", "/c/one/events/two/"),
        ("{% url name code %}", "/c/abc/"),
        ("{% url name code=code as found %}{{ found }}", "/c/abc/"),
        ("{% url 'no-such-name' code as found %}[{{ found }}]", "[]"),
        ("{% url 'admin:index' %}", "/admin/"),
    ):
        assert [Template(source).render(context) for _ in range(2)] == [expected] * 2
    with pytest.raises(NoReverseMatch):
        Template("{% url 'no-such-name' %}").render(Context())

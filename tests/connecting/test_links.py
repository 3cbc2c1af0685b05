"""A link that lets a colleague connect from another device: for members only, once, for a day."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection as database
from django.db.models import F

from accounts.models import Customer, Membership, User
from connectapp.redaction import redact
from integrations.connecting import links
from integrations.models import Connection, ConnectLink, State
from tests.support.clients import Sandbox, Visitor, audited, work

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def link_of(page: str) -> str:
    """The path of the address that the page shows to be copied."""
    found = re.search(r"http://localhost(/c/\w+/connect/links/[\w-]+/)", page)
    assert found, page
    return found[1]


def made(browser: Visitor, customer: Customer) -> str:
    return link_of(browser.post(f"/c/{customer.code}/connect/links/").text)


def test_a_colleague_connects_by_the_link_on_another_device(
    visit: Visit, alice: User, bob: User, acme: Customer, sandbox: Sandbox
) -> None:
    link = made(visit(alice), acme)
    phone = visit(bob)
    page = phone.get(link).text
    assert "alice@example.com invites you to" in re.sub(r"\s+", " ", page)
    away = phone.post(link)
    phone.open_callback(sandbox.decide(away["Location"]))
    work()
    connection = acme.connections.get()
    assert (connection.state, connection.connected_by) == (State.CONNECTED, bob)
    assert (audited("connect_link.made"), audited("connect_link.used")) == (1, 1)


def test_a_link_to_reconnect_is_for_that_connection(
    visit: Visit, alice: User, bob: User, acme: Customer, sandbox: Sandbox
) -> None:
    connection = visit(alice).connect(acme, sandbox)
    connection.move_to(State.NEEDS_RECONNECT)
    link = link_of(visit(alice).post(f"/c/{acme.code}/connections/{connection.code}/link/").text)
    phone = visit(bob)
    assert f"Reconnect {connection.label}" in phone.get(link).text
    phone.open_callback(sandbox.decide(phone.post(link)["Location"]))
    work()
    assert acme.connections.get().state == State.CONNECTED


def test_looking_uses_nothing_up_and_pressing_does(visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    link = made(browser, acme)
    for _ in range(3):
        assert "Connect with SnapInspect" in browser.get(link).text
    assert browser.post(link).status_code == 302
    for answer in (browser.get(link), browser.post(link)):
        assert answer.status_code == 200
        assert "This link was already used" in answer.text


def test_after_a_day_it_says_that_it_is_too_old(visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    link = made(browser, acme)
    ConnectLink.objects.update(created_at=F("created_at") - ConnectLink.LIFETIME)
    for answer in (browser.get(link), browser.post(link)):
        assert "This link has expired" in answer.text
    assert ConnectLink.objects.get().used_at is None


def test_of_all_who_press_at_the_same_moment_one_goes_on(acme: Customer, bob: User, alice: User) -> None:
    secret = links.issue(customer=acme, by=alice)
    together = threading.Barrier(8)

    def press(_: int) -> bool:
        try:
            link = links.find(acme, secret)
            assert link is not None
            together.wait(30)
            return links.redeem(link, by=bob)
        finally:
            database.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(press, range(8))) == [False] * 7 + [True]


def test_it_is_worth_nothing_to_anybody_but_owners_and_members(
    visit: Visit, stranger: Visitor, alice: User, bob: User, victor: User, charlie: User, acme: Customer
) -> None:
    link = made(visit(alice), acme)
    signed_out = stranger.get(link)
    assert (signed_out.status_code, signed_out["Location"]) == (302, f"/accounts/login/?next={link}")
    for person, status in ((charlie, 404), (victor, 403)):
        for answer in (visit(person).get(link), visit(person).post(link)):
            assert answer.status_code == status
    # Neither is it for another customer of the same person, nor for somebody who has left meanwhile.
    elsewhere = Customer.objects.create_with_owner("Elsewhere", owner=alice)
    assert visit(alice).post(link.replace(acme.code, elsewhere.code)).status_code == 404
    Membership.objects.filter(user=bob).delete()
    assert visit(bob).post(link).status_code == 404
    assert ConnectLink.objects.get().used_at is None


def test_only_its_hash_is_kept_and_log_lines_mask_it(visit: Visit, alice: User, acme: Customer) -> None:
    link = made(visit(alice), acme)
    secret = link.split("/")[-2]
    assert secret not in str(list(ConnectLink.objects.values()))
    assert secret not in redact(f'"GET {link} HTTP/1.1" 200')


def test_a_connection_that_is_deleted_takes_its_links_along(visit: Visit, alice: User, acme: Customer) -> None:
    connection = Connection.objects.create(customer=acme)
    links.issue(customer=acme, by=alice, connection=connection)
    connection.delete()
    assert not ConnectLink.objects.exists()

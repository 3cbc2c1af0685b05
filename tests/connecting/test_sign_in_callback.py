"""Rows C2-C4, C6-C8 and C16 of the score card for the callbacks of a sign-in or of a link."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import User
from integrations.models import ConnectAttempt, GuestTokenPair, LinkedUser
from tests.support.clients import OTHER, Sandbox, Visitor, audited, work
from tests.support.sign_in import WAITING, leave_to_link, leave_to_sign_in, link, who

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_guest_pair_left")]
Visit = Callable[[User], Visitor]


@pytest.mark.parametrize("victim_is", ["signed in", "signed out", "a fresh browser"])
def test_C2_an_attackers_sign_in_does_nothing_in_the_victims_browser(
    victim_is: str, sandbox: Sandbox, visit: Visit, alice: User, charlie: User
) -> None:
    link(visit(charlie), sandbox, OTHER)
    attacker = Visitor()
    trap = sandbox.decide(leave_to_sign_in(attacker), account=OTHER)
    victim = visit(alice) if victim_is == "signed in" else Visitor()
    if victim_is == "signed out":
        leave_to_sign_in(victim)  # a session without a person

    response = victim.open_callback(trap)
    work()
    victim.get(WAITING)

    assert (response.status_code, response["Location"]) == (303, "/connect/ended/sign-in-over/")
    assert victim.get(response["Location"]).status_code == 200
    assert who(victim) == (alice if victim_is == "signed in" else None)
    if victim_is != "a fresh browser":  # as with every return: who has no session, like a scanner, uses nothing up
        attacker.open_callback(trap)
        work()
        attacker.get(WAITING)
        assert who(attacker) is None, "the state was not burnt"


def test_C2_an_attackers_user_is_not_linked_to_the_victim(
    sandbox: Sandbox, visit: Visit, alice: User, charlie: User
) -> None:
    trap = sandbox.decide(leave_to_link(visit(charlie)), account=OTHER)

    response = visit(alice).open_callback(trap)
    work()

    assert response["Location"] == "/connect/ended/link-over/"
    assert not LinkedUser.objects.exists()
    assert audited("link.other-person") == 1


def test_C3_a_return_works_once(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    address = sandbox.decide(leave_to_sign_in(browser))

    assert browser.open_callback(address)["Location"] == WAITING
    assert browser.open_callback(address)["Location"] == "/connect/ended/sign-in-over/"
    work()

    assert browser.get(WAITING)["Location"] == "/"
    assert sandbox.exchanges() == 2


def test_C3_a_sign_in_is_good_for_one_browser_even_if_the_cookie_was_copied(
    sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))
    work()
    copy = Visitor()
    copy.cookies["sessionid"] = browser.cookies["sessionid"].value
    introduction = GuestTokenPair.objects.latest("pk")

    assert introduction.use()
    assert not GuestTokenPair.objects.get(pk=introduction.pk).use()
    assert copy.get(WAITING)["Location"] == "/accounts/login/"
    assert who(copy) is None


@pytest.mark.parametrize("age", [601, -86_400])
def test_C4_a_late_return_is_refused(age: int, sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    address = sandbox.decide(leave_to_sign_in(browser))
    ConnectAttempt.objects.update(issued_at=timezone.now() - timedelta(seconds=age))

    assert browser.open_callback(address)["Location"] == "/connect/ended/sign-in-over/"
    assert audited("sign_in.expired") == 1


def test_C6_who_signed_in_by_password_meanwhile_is_not_signed_in_as_somebody_else(
    sandbox: Sandbox, visit: Visit, alice: User, bob: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    address = sandbox.decide(leave_to_sign_in(browser))
    browser.force_login(bob)

    assert browser.open_callback(address)["Location"] == "/connect/ended/sign-in-over/"
    work()
    browser.get(WAITING)

    assert who(browser) == bob


@pytest.mark.parametrize("purpose", ["link", "sign in"])
def test_C7_declining_is_a_calm_page(purpose: str, sandbox: Sandbox, visit: Visit, alice: User) -> None:
    browser = visit(alice) if purpose == "link" else Visitor()
    left = leave_to_link(browser) if purpose == "link" else leave_to_sign_in(browser)

    response = browser.open_callback(sandbox.decide(left, decision="deny"))

    assert response["Location"] == f"/connect/ended/{purpose.replace(' ', '-')}-declined/"
    assert "Nothing was saved" in browser.get(response["Location"]).content.decode()
    assert not GuestTokenPair.objects.exists()


def test_C8_odd_tokens_are_refused(sandbox: Sandbox) -> None:
    browser = Visitor()
    sandbox.fault("/integration/SnapInspectConnect", change={"refresh_token": None})

    response = browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))

    assert response["Location"] == "/connect/ended/sign-in-garbled/"
    assert not GuestTokenPair.objects.exists()


def test_C16_a_scanner_spoils_no_sign_in(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    address = sandbox.decide(leave_to_sign_in(browser))

    assert Visitor().open_callback(address)["Location"] == "/connect/ended/sign-in-over/"
    browser.open_callback(address)
    work()
    browser.get(WAITING)

    assert who(browser) == alice


def test_the_callback_answer_of_a_sign_in_is_not_kept_and_tells_no_referrer(sandbox: Sandbox) -> None:
    browser = Visitor()
    response = browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))
    work()

    assert "no-store" in response["Cache-Control"]
    assert response["Referrer-Policy"] == "no-referrer"
    assert response.content == b""


def test_the_session_gets_a_new_key_at_the_start_and_at_the_end(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    planted = browser.session
    planted.save()
    browser.cookies["sessionid"] = planted.session_key or ""

    address = sandbox.decide(leave_to_sign_in(browser))
    on_the_way = browser.session.session_key
    browser.open_callback(address)
    work()
    browser.get(WAITING)

    assert len({planted.session_key, on_the_way, browser.session.session_key}) == 3
    assert not Session.objects.filter(session_key__in=[planted.session_key, on_the_way]).exists()

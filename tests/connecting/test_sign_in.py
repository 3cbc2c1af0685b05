"""Sign in with SnapInspect: who is signed in, and what becomes of the pair that came back."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, Membership, Role, User
from integrations import wording
from integrations.connecting import sessions, sign_in
from integrations.models import ConnectAttempt, Connection, GuestTokenPair, State, TokenPair
from integrations.tokens.encryption import CannotUnseal, GuestKeyContext, KeyContext, unseal
from tests.support.clients import OTHER, PAT, Sandbox, Visitor, audited, everything_kept, work
from tests.support.sign_in import (
    ACCOUNT,
    START,
    WAITING,
    as_it_came,
    leave_to_sign_in,
    link,
    sign_in_with_snapinspect,
    token_in,
    who,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_guest_pair_left")]
Visit = Callable[[User], Visitor]


def test_who_has_linked_their_user_signs_in_with_it(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    assert "Pat Harbour" in link(visit(alice), sandbox)
    browser = Visitor()

    response = sign_in_with_snapinspect(browser, sandbox)

    assert (response.status_code, response["Location"]) == (302, "/")
    assert who(browser) == alice
    assert audited("link.linked") == audited("sign_in.known") == audited("sign_in.signed_in") == 1


def test_the_pair_that_came_with_a_sign_in_is_dead_and_nothing_of_it_is_kept(
    sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    before = everything_kept()

    address = sandbox.decide(leave_to_sign_in(browser))
    browser.open_callback(address)
    work()

    assert not sandbox.accepts(token_in(address))
    assert sandbox.exchanges() == 2  # one for the link, one for the sign-in
    assert everything_kept() == before == []


def test_the_pair_renews_the_connection_that_the_person_made_for_this_company(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    connection = visit(alice).connect(acme, sandbox)
    first = TokenPair.objects.current().get(connection=connection).fingerprint
    link(visit(alice), sandbox)
    second = TokenPair.objects.current().get(connection=connection).fingerprint
    sign_in_with_snapinspect(Visitor(), sandbox)
    third = TokenPair.objects.current().get(connection=connection)

    assert len({first, second, third.fingerprint}) == 3
    assert (Connection.objects.get().badge, Connection.objects.get().pk) == (State.CONNECTED, connection.pk)
    assert TokenPair.objects.count() == 1
    assert sandbox.exchanges() == 3, "a pair that was exchanged already was exchanged again"
    assert audited("connect.renewed") == audited("connect.reconnected") == 2


def test_a_sign_in_mends_a_connection_that_needs_a_person(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    connection = visit(alice).connect(acme, sandbox)
    link(visit(alice), sandbox)
    connection.refresh_from_db()
    connection.move_to(State.NEEDS_RECONNECT, error_kind="token_refused")

    sign_in_with_snapinspect(Visitor(), sandbox)

    connection.refresh_from_db()
    assert connection.badge == State.CONNECTED


@pytest.mark.parametrize("why", ["somebody else connected", "another company", "may only look", "left", "disconnected"])
def test_a_connection_that_is_not_the_persons_to_renew_is_left_alone(
    why: str, sandbox: Sandbox, visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    browser = visit(bob)
    connection = (visit(alice) if why == "somebody else connected" else browser).connect(acme, sandbox)
    link(visit(bob), sandbox, OTHER if why == "another company" else PAT)
    if why == "may only look":
        Membership.objects.filter(user=bob).update(role=Role.VIEWER)
    elif why == "left":
        Membership.objects.filter(user=bob).delete()
    elif why == "disconnected":
        browser.post(f"/c/{acme.code}/connections/{connection.code}/disconnect/")
    before = everything_kept()

    sign_in_with_snapinspect(stranger := Visitor(), sandbox, OTHER if why == "another company" else PAT)

    assert who(stranger) == bob
    assert everything_kept() == before


def test_a_user_that_nobody_has_linked_gets_a_calm_page_and_leaves_nothing(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    visit(alice).connect(acme, sandbox)
    # The e-mail address at SnapInspect is no reason to let anybody in.
    User.objects.create_user("pat@harbour.example", "correct horse battery")
    before, browser = everything_kept(), Visitor()

    address = sandbox.decide(leave_to_sign_in(browser))
    browser.open_callback(address)
    work()
    page = browser.get(WAITING).content.decode()

    assert wording.NOT_SIGNED_IN["unknown"].title in page
    assert "pat@harbour.example" not in page
    assert who(browser) is None
    assert everything_kept() == before
    assert not sandbox.accepts(token_in(address))
    assert audited("sign_in.unknown") == 1


def test_tokens_of_another_app_with_a_refresh_token_of_ones_own_sign_in_nobody_else(
    sandbox: Sandbox, visit: Visit, alice: User, charlie: User
) -> None:
    """The classical attack on signing in by a token: somebody's token that was issued to another app is pasted in."""
    link(visit(alice), sandbox, PAT)
    link(visit(charlie), sandbox, OTHER)
    leaked, attacker = sandbox.grant(PAT)["access_token"], Visitor()
    address = sandbox.decide(leave_to_sign_in(attacker), account=OTHER)

    attacker.get(as_it_came(address, access_token=leaked))
    work()
    attacker.get(WAITING)

    assert who(attacker) == charlie


def test_tokens_that_our_secret_cannot_exchange_sign_in_nobody(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    leaked, attacker = sandbox.grant(PAT)["access_token"], Visitor()
    address = sandbox.decide(leave_to_sign_in(attacker), account=OTHER)

    attacker.get(as_it_came(address, access_token=leaked, refresh_token="issued-to-another-app"))
    work()

    assert wording.NOT_SIGNED_IN["refused"].title in attacker.get(WAITING).content.decode()
    assert who(attacker) is None
    assert audited("sign_in.refused") == 1


def test_somebody_who_was_barred_looks_like_nobody(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    browser = Visitor()

    page = sign_in_with_snapinspect(browser, sandbox).content.decode()

    assert wording.NOT_SIGNED_IN["unknown"].title in page
    assert who(browser) is None


def test_the_second_factor_is_asked_for(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    Authenticator.objects.create(user=alice, type=Authenticator.Type.TOTP, data={"secret": "x"})
    browser = Visitor()

    response = sign_in_with_snapinspect(browser, sandbox)

    assert response["Location"] == "/accounts/2fa/authenticate/"
    assert who(browser) is None
    assert browser.get(WAITING)["Location"] == "/accounts/login/"


@pytest.mark.parametrize("has_second_factor", [False, True])
def test_staff_need_a_second_factor_to_sign_in_with_snapinspect(
    has_second_factor: bool, sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    link(visit(alice), sandbox)
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    if has_second_factor:
        Authenticator.objects.create(user=alice, type=Authenticator.Type.TOTP, data={"secret": "x"})
    browser = Visitor()

    response = sign_in_with_snapinspect(browser, sandbox)

    if has_second_factor:
        assert response["Location"] == "/accounts/2fa/authenticate/"
    else:
        assert wording.NOT_SIGNED_IN["second-factor"].title in response.content.decode()
    assert who(browser) is None


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [("/c/acme/events/", "/c/acme/events/"), ("https://evil.example/", "/"), ("//evil.example", "/"), ("", "/")],
)
def test_the_page_that_was_wanted_comes_next_and_never_another_site(
    wanted: str, reached: str, sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.open_callback(sandbox.decide(leave_to_sign_in(browser, next=wanted)))
    work()

    assert browser.get(WAITING)["Location"] == reached


def test_starting_is_counted_with_other_sign_ins(sandbox: Sandbox) -> None:
    answers = [Visitor().post(START).status_code for _ in range(40)]

    assert set(answers) == {302, 429}
    assert answers.count(302) <= 30
    assert ConnectAttempt.objects.count() == answers.count(302)


def test_a_link_leads_to_a_page_that_says_what_comes_and_starts_nothing() -> None:
    browser = Visitor()

    page = browser.get(START, {"next": "/c/abc/events/"}).content.decode()

    assert "Continue to SnapInspect" in page
    assert 'name="next" value="/c/abc/events/"' in page
    assert "https://evil.example" not in browser.get(START, {"next": "https://evil.example"}).content.decode()
    assert not ConnectAttempt.objects.exists()


@pytest.mark.parametrize("missing", ["SNAPINSPECT_SIGN_IN_FIELD", "SNAPINSPECT_CLIENT_ID"])
def test_it_is_off_until_it_is_set_up(missing: str, visit: Visit, alice: User, settings: Settings) -> None:
    assert "Sign in with SnapInspect" in Visitor().get("/accounts/login/").content.decode()
    setattr(settings, missing, "")

    assert "Sign in with SnapInspect" not in Visitor().get("/accounts/login/").content.decode()
    assert Visitor().post(START).status_code == 404
    assert visit(alice).get(ACCOUNT).status_code == 404
    assert ACCOUNT not in visit(alice).get("/accounts/2fa/").content.decode()


def test_a_guests_pair_opens_nowhere_else(sandbox: Sandbox, alice: User, acme: Customer) -> None:
    browser = Visitor()
    address = sandbox.decide(leave_to_sign_in(browser))
    browser.open_callback(address)
    row = GuestTokenPair.objects.get()

    assert token_in(address).encode() not in bytes(row.sealed_access)
    assert unseal(row.sealed_access, GuestKeyContext(row.code, "access")) == token_in(address)
    for context in (
        GuestKeyContext(row.code, "refresh"),
        GuestKeyContext("other", "access"),
        KeyContext(acme.pk, row.pk, "access"),
    ):
        with pytest.raises(CannotUnseal):
            unseal(row.sealed_access, context)
    work()


def test_what_nobody_can_ask_about_any_more_is_forgotten(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    browser.start_connect(acme)
    link(browser, sandbox)
    leave_to_sign_in(Visitor())
    _, secret = sessions.issue(customer=acme, connection=None, return_to="https://app.example/", by=None)
    Visitor().post(f"/connect/sessions/{secret}/")
    sign_in.delete_old_attempts()
    assert ConnectAttempt.objects.count() == 4

    ConnectAttempt.objects.update(issued_at=timezone.now() - timedelta(days=2))
    sign_in.delete_old_attempts()

    assert {attempt.purpose for attempt in ConnectAttempt.objects.all()} == {"connect", "hosted"}
    assert not GuestTokenPair.objects.exists()


def test_a_stranger_who_comes_back_again_and_again_does_not_fill_the_audit_trail(sandbox: Sandbox) -> None:
    address = sandbox.decide(leave_to_sign_in(browser := Visitor()), decision="deny")
    for _ in range(5):
        browser.open_callback(address)
        Visitor().open_callback(address)
    assert AuditEntry.objects.count() == 1

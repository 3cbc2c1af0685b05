"""Sign in with SnapInspect: who is signed in, in which browser, and what becomes of the pair that came back.

Rows C2, C3, C4, C6 and C16 of the score card for the returns that are no Connect, and the attacks on signing in.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, Membership, Role, User
from integrations import wording
from integrations.connecting import sign_in
from integrations.models import ConnectAttempt, Connection, GuestTokenPair, LinkedUser, SignInOutcome, State, TokenPair
from integrations.snapinspect.profile import read_user, user_id
from integrations.tokens.encryption import CannotUnseal, GuestKeyContext, KeyContext, unseal
from tests.support.clients import OTHER, PAT, Sandbox, Visitor, audited, everything_kept, work

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
EXCHANGE = "/integration/ExchangeToken"
ACCOUNT, START, WAITING = (
    "/accounts/snapinspect/",
    "/accounts/snapinspect/sign-in/",
    "/accounts/snapinspect/signing-in/",
)
COLLEAGUE = "502"  # of the same company as PAT
NAMELESS_COMPANY = "701"


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    cache.clear()  # sign-ins are counted
    yield
    assert GuestTokenPair.objects.exclude(sealed_refresh=b"").count() == 0, "a guest's pair was left behind"


def leave_to_sign_in(browser: Visitor, **fields: str) -> str:
    response = browser.post(START, fields)
    assert response.status_code == 302, response.status_code
    return str(response["Location"])


def leave_to_link(browser: Visitor) -> str:
    browser.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    response = browser.post(f"{ACCOUNT}link/")
    assert response.status_code == 302, response.status_code
    return str(response["Location"])


def link(browser: Visitor, sandbox: Sandbox, account: str = PAT) -> str:
    """All of linking; returns the page that says what came of it."""
    response = browser.come_back(sandbox.decide(leave_to_link(browser), account=account))
    assert (response.status_code, response["Location"]) == (303, ACCOUNT)
    work()
    return browser.get(ACCOUNT).content.decode()


def sign_in_with_snapinspect(browser: Visitor, sandbox: Sandbox, account: str = PAT) -> Any:
    """All of signing in; returns what the waiting page answers when the worker is done."""
    response = browser.come_back(sandbox.decide(leave_to_sign_in(browser), account=account))
    assert (response.status_code, response["Location"]) == (303, WAITING)
    work()
    return browser.get(WAITING)


def who(browser: Visitor) -> User | None:
    pk = browser.session.get("_auth_user_id")
    return User.objects.get(pk=pk) if pk else None


def token_in(address: str) -> str:
    return parse_qs(urlsplit(address).query)["access_token"][0]


def as_it_came(address: str, **changed: str) -> str:
    parts = urlsplit(address)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changed
    return f"{parts.path}?{urlencode(query)}"


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
    browser.come_back(address)
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
    browser.come_back(address)
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

    response = victim.come_back(trap)
    work()
    victim.get(WAITING)

    assert (response.status_code, response["Location"]) == (303, "/connect/ended/sign-in-over/")
    assert victim.get(response["Location"]).status_code == 200
    assert who(victim) == (alice if victim_is == "signed in" else None)
    if victim_is != "a fresh browser":  # as with every return: who has no session, like a scanner, uses nothing up
        attacker.come_back(trap)
        work()
        attacker.get(WAITING)
        assert who(attacker) is None, "the state was not burnt"


def test_C2_an_attackers_user_is_not_linked_to_the_victim(
    sandbox: Sandbox, visit: Visit, alice: User, charlie: User
) -> None:
    trap = sandbox.decide(leave_to_link(visit(charlie)), account=OTHER)

    response = visit(alice).come_back(trap)
    work()

    assert response["Location"] == "/connect/ended/link-over/"
    assert not LinkedUser.objects.exists()
    assert audited("link.other-person") == 1


def test_C3_a_return_works_once(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    address = sandbox.decide(leave_to_sign_in(browser))

    assert browser.come_back(address)["Location"] == WAITING
    assert browser.come_back(address)["Location"] == "/connect/ended/sign-in-over/"
    work()

    assert browser.get(WAITING)["Location"] == "/"
    assert sandbox.exchanges() == 2


def test_C3_a_sign_in_is_good_for_one_browser_even_if_the_cookie_was_copied(
    sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.come_back(sandbox.decide(leave_to_sign_in(browser)))
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

    assert browser.come_back(address)["Location"] == "/connect/ended/sign-in-over/"
    assert audited("sign_in.expired") == 1


def test_C6_who_signed_in_by_password_meanwhile_is_not_signed_in_as_somebody_else(
    sandbox: Sandbox, visit: Visit, alice: User, bob: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    address = sandbox.decide(leave_to_sign_in(browser))
    browser.force_login(bob)

    assert browser.come_back(address)["Location"] == "/connect/ended/sign-in-over/"
    work()
    browser.get(WAITING)

    assert who(browser) == bob


@pytest.mark.parametrize("purpose", ["link", "sign in"])
def test_C7_declining_is_a_calm_page(purpose: str, sandbox: Sandbox, visit: Visit, alice: User) -> None:
    browser = visit(alice) if purpose == "link" else Visitor()
    left = leave_to_link(browser) if purpose == "link" else leave_to_sign_in(browser)

    response = browser.come_back(sandbox.decide(left, decision="deny"))

    assert response["Location"] == f"/connect/ended/{purpose.replace(' ', '-')}-declined/"
    assert "Nothing was saved" in browser.get(response["Location"]).content.decode()
    assert not GuestTokenPair.objects.exists()


def test_C8_odd_tokens_are_refused(sandbox: Sandbox) -> None:
    browser = Visitor()
    sandbox.fault("/integration/SnapInspectConnect", change={"refresh_token": None})

    response = browser.come_back(sandbox.decide(leave_to_sign_in(browser)))

    assert response["Location"] == "/connect/ended/sign-in-garbled/"
    assert not GuestTokenPair.objects.exists()


def test_C16_a_scanner_spoils_no_sign_in(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    address = sandbox.decide(leave_to_sign_in(browser))

    assert Visitor().come_back(address)["Location"] == "/connect/ended/sign-in-over/"
    browser.come_back(address)
    work()
    browser.get(WAITING)

    assert who(browser) == alice


def test_the_callback_answer_of_a_sign_in_is_not_kept_and_tells_no_referrer(sandbox: Sandbox) -> None:
    browser = Visitor()
    response = browser.come_back(sandbox.decide(leave_to_sign_in(browser)))
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
    browser.come_back(address)
    work()
    browser.get(WAITING)

    assert len({planted.session_key, on_the_way, browser.session.session_key}) == 3
    assert not Session.objects.filter(session_key__in=[planted.session_key, on_the_way]).exists()


def test_a_user_that_somebody_else_has_linked_cannot_be_linked_again(
    sandbox: Sandbox, visit: Visit, alice: User, charlie: User
) -> None:
    link(visit(alice), sandbox)
    browser = visit(charlie)
    address = sandbox.decide(leave_to_link(browser))
    browser.come_back(address)
    work()

    page = browser.get(ACCOUNT).content.decode()
    assert wording.NOT_LINKED["taken"] in page
    assert "alice" not in page
    assert "Somebody else" not in browser.get(ACCOUNT).content.decode(), "it is told once"
    assert LinkedUser.objects.get().user == alice
    assert not sandbox.accepts(token_in(address))
    assert audited("link.taken") == 1


def test_a_second_user_is_linked_only_after_the_first_was_unlinked(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    browser = visit(alice)
    begun_before = leave_to_link(browser)
    link(browser, sandbox, PAT)
    assert browser.post(f"{ACCOUNT}link/")["Location"] == ACCOUNT

    browser.come_back(sandbox.decide(begun_before, account=OTHER))
    work()
    assert wording.NOT_LINKED["other"] in browser.get(ACCOUNT).content.decode()
    assert LinkedUser.objects.get().vendor_user_id == PAT

    browser.post(f"{ACCOUNT}unlink/")
    link(browser, sandbox, OTHER)
    assert LinkedUser.objects.get().vendor_user_id == OTHER


def test_linking_asks_for_the_password_again(visit: Visit, alice: User) -> None:
    response = visit(alice).post(f"{ACCOUNT}link/")

    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/reauthenticate/")
    assert not ConnectAttempt.objects.exists()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_who_has_unlinked_their_user_is_not_let_in_with_it(
    when: str, sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    at_home, elsewhere = visit(alice), Visitor()
    link(at_home, sandbox)
    elsewhere.come_back(sandbox.decide(leave_to_sign_in(elsewhere)))
    if when == "before":
        at_home.post(f"{ACCOUNT}unlink/")
    work()
    if when == "meanwhile":
        at_home.post(f"{ACCOUNT}unlink/")

    assert wording.NOT_SIGNED_IN["unknown"].title in elsewhere.get(WAITING).content.decode()
    assert who(elsewhere) is None
    assert audited("link.unlinked") == 1


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
    browser.come_back(sandbox.decide(leave_to_sign_in(browser, next=wanted)))
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


def test_the_waiting_page_asks_for_itself_and_is_never_what_signs_in_then(
    sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.come_back(sandbox.decide(leave_to_sign_in(browser)))

    page = browser.get(WAITING).content.decode()
    assert "Continue" in page
    asked = browser.get(WAITING, headers={"HX-Request": "true"})
    assert (asked.status_code, "HX-Refresh" in asked) == (204, False)
    work()
    asked = browser.get(WAITING, headers={"HX-Request": "true"})
    assert (asked.status_code, asked["HX-Refresh"]) == (204, "true")
    assert who(browser) is None


def test_an_outage_is_waited_for_a_minute_and_ends_by_itself(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.come_back(sandbox.decide(leave_to_sign_in(browser)))
    sandbox.fault("/user", "status", status=503, times=None)
    work()
    assert "asking SnapInspect" in browser.get(WAITING).content.decode()

    sandbox.clear_faults()
    GuestTokenPair.objects.update(next_try_at=Now())
    work()

    assert browser.get(WAITING)["Location"] == "/"
    assert sandbox.exchanges() == 2, "one for the link, one for the sign-in"


@pytest.mark.parametrize(
    "fault", [("/user", "status", 503), (EXCHANGE, "status", 429), (EXCHANGE, "lost_answer", None)]
)
def test_an_outage_that_lasts_ends_in_a_calm_page_and_the_pair_is_erased(
    fault: tuple[str, str, int | None], sandbox: Sandbox, visit: Visit, alice: User
) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.come_back(sandbox.decide(leave_to_sign_in(browser)))
    path, kind, status = fault
    sandbox.fault(path, kind, times=None, **({"status": status} if status else {}))
    GuestTokenPair.objects.update(received_at=Now() - timedelta(seconds=61))

    work()

    assert wording.NOT_SIGNED_IN["unreachable"].title in browser.get(WAITING).content.decode()
    assert GuestTokenPair.objects.latest("pk").sealed_access == b""


def test_a_lost_answer_is_not_sent_for_again(sandbox: Sandbox) -> None:
    browser = Visitor()
    browser.come_back(sandbox.decide(leave_to_sign_in(browser)))
    sandbox.fault(EXCHANGE, "lost_answer")

    work()

    assert sandbox.exchanges() == 1
    assert GuestTokenPair.objects.get().outcome == SignInOutcome.UNREACHABLE


def test_keys_that_do_not_open_the_pair_are_a_setup_problem(sandbox: Sandbox) -> None:
    browser = Visitor()
    browser.come_back(sandbox.decide(leave_to_sign_in(browser)))
    GuestTokenPair.objects.update(code="another")

    work()

    assert sandbox.exchanges() == 0
    assert wording.NOT_SIGNED_IN["setup"].title in browser.get(WAITING).content.decode()


def test_an_answer_that_names_no_user_signs_in_nobody(
    sandbox: Sandbox, visit: Visit, alice: User, settings: Settings
) -> None:
    settings.SNAPINSPECT_SIGN_IN_FIELD = "iPersonID"
    browser = visit(alice)

    assert wording.NOT_LINKED["nameless"] in link(browser, sandbox)
    assert wording.NOT_SIGNED_IN["nameless"].title in sign_in_with_snapinspect(Visitor(), sandbox).content.decode()
    assert not LinkedUser.objects.exists()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"iUserID": 501}, "501"),
        ({"iUserID": "501"}, "501"),
        ({"iUserID": "0501"}, "0501"),
        ({"iUserID": "a7-Ü"}, "a7-Ü"),
        ({"user": {"iUserID": 5}, "company": {"iCompanyID": 7}}, "5"),
        ({"iUserID": 5, "manager": {"iUserID": 6}}, "5"),
        ({"manager": {"iUserID": 6}, "user": {"iUserID": 5}}, None),
        ([{"iUserID": 5}, {"iUserID": 6}], None),
        ({"iUserID": None, "manager": {"iUserID": 6}}, None),
        ({"iUserID": ""}, None),
        ({"iUserID": " 5"}, None),
        ({"iUserID": "5\n"}, None),
        ({"iUserID": "5\0"}, None),
        ({"iUserID": "\u200b5"}, None),
        ({"iUserID": "x" * 65}, None),
        ({"iUserID": True}, None),
        ({"iUserID": 5.0}, None),
        ({"iUserID": -5}, None),
        ({"iUserID": 0}, None),
        ({"iUserID": 10**30}, None),
        ({"iUserID": [5]}, None),
        ({"iUserID": {"value": 5}}, None),
        ({"iUserID": "[token]"}, None),
        ({"iuserid": 5}, None),
        ({}, None),
    ],
    ids=repr,
)
def test_a_user_id_is_one_exact_text_or_none(answer: Any, expected: str | None) -> None:
    assert user_id(read_user(answer), "iUserID") == expected


def test_ids_that_differ_in_case_or_zeros_are_different_people(alice: User, charlie: User) -> None:
    LinkedUser.objects.create(user=alice, vendor_user_id="Ab")
    LinkedUser.objects.create(user=charlie, vendor_user_id="aB")

    assert sign_in.find_linked_user("Ab") == alice
    assert sign_in.find_linked_user("aB") == charlie
    assert sign_in.find_linked_user("ab") is sign_in.find_linked_user("0Ab") is None


def test_a_guests_pair_opens_nowhere_else(sandbox: Sandbox, alice: User, acme: Customer) -> None:
    browser = Visitor()
    address = sandbox.decide(leave_to_sign_in(browser))
    browser.come_back(address)
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
    browser.leave(acme)
    link(browser, sandbox)
    leave_to_sign_in(Visitor())
    sign_in.delete_old_attempts()
    assert ConnectAttempt.objects.count() == 3

    ConnectAttempt.objects.update(issued_at=timezone.now() - timedelta(days=2))
    sign_in.delete_old_attempts()

    assert [attempt.purpose for attempt in ConnectAttempt.objects.all()] == ["connect"]
    assert not GuestTokenPair.objects.exists()


def test_staff_see_who_has_linked_which_user_and_change_nothing(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    staff = visit(User.objects.create_superuser("staff@example.com", "correct horse battery"))

    page = staff.get("/admin/integrations/linkeduser/").content.decode()

    assert alice.email in page
    assert PAT in page
    assert staff.get("/admin/integrations/linkeduser/add/").status_code == 403


def test_a_stranger_who_comes_back_again_and_again_does_not_fill_the_audit_trail(sandbox: Sandbox) -> None:
    address = sandbox.decide(leave_to_sign_in(browser := Visitor()), decision="deny")
    for _ in range(5):
        browser.come_back(address)
        Visitor().come_back(address)
    assert AuditEntry.objects.count() == 1

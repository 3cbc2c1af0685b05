"""Pairs that came back for a state of ours and end nowhere: a worker ends what stands in the browser's history."""

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, Membership, Role, User
from integrations.connecting import oauth_state, sessions, unused_pairs
from integrations.models import ConnectAttempt, GuestTokenPair, State
from integrations.snapinspect import token_pair
from tests.support.clients import OTHER, Sandbox, Visitor, audited, callback, everything_kept, work
from tests.support.sign_in import as_it_came, leave_to_sign_in, link, token_in, who

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
UNUSABLE = timedelta(seconds=1) + ConnectAttempt.LIFETIME + oauth_state.CLOCK_TOLERANCE


def stored() -> int:
    return GuestTokenPair.objects.exclude(sealed_access=b"", sealed_refresh=b"").count()


def let_the_state_expire() -> None:
    ConnectAttempt.objects.update(issued_at=F("issued_at") - UNUSABLE)
    GuestTokenPair.objects.update(next_try_at=F("next_try_at") - UNUSABLE, received_at=F("received_at") - UNUSABLE)


@pytest.mark.parametrize("purpose", ["connect", "sign in"])
@pytest.mark.parametrize("ends", ["signed out", "too late", "other person", "other browser"])
def test_a_pair_that_ends_nowhere_is_dead_soon_and_kept_nowhere(
    ends: str, purpose: str, sandbox: Sandbox, visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    browser = visit(alice) if purpose == "connect" else Visitor()
    address = sandbox.decide(browser.start_connect(acme) if purpose == "connect" else leave_to_sign_in(browser))
    if ends == "too late":
        ConnectAttempt.objects.update(issued_at=timezone.now() - UNUSABLE)
    elif ends == "other person":
        browser = visit(bob)
    elif ends == "signed out":
        browser = Visitor()
    elif purpose == "connect":
        browser = visit(alice)
    else:
        browser = Visitor()
        leave_to_sign_in(browser)

    browser.open_callback(address)
    browser.open_callback(address)
    if ends == "signed out":
        work()
        assert sandbox.accepts(token_in(address)), "the person may yet come, after a scanner"
        let_the_state_expire()
    work()

    assert not sandbox.accepts(token_in(address))
    assert (sandbox.exchanges(), stored(), everything_kept()) == (1, 0, [])
    entry = AuditEntry.objects.get(kind="connect.unused_ended")
    assert entry.detail["ended_at_snapinspect"] is True
    work()
    assert sandbox.exchanges() == 1


@pytest.mark.parametrize("ends", ["other browser", "too late", "second tab", "used state"])
def test_a_pair_of_a_hosted_connect_that_ends_nowhere_is_dead_soon_and_kept_nowhere(
    ends: str, sandbox: Sandbox, acme: Customer
) -> None:
    session, secret = sessions.issue(customer=acme, connection=None, return_to="https://app.example/", by=None)
    browser, page = Visitor(), f"/connect/sessions/{secret}/"
    authorization = str(browser.post(page)["Location"])
    if ends == "second tab":
        second = str(browser.post(page)["Location"])
        browser.open_callback(sandbox.decide(second))
    elif ends == "used state":
        browser.open_callback(sandbox.decide(authorization))
    elif ends == "too late":
        ConnectAttempt.objects.update(issued_at=timezone.now() - UNUSABLE)
    elif ends == "other browser":
        browser = Visitor()
    address = sandbox.decide(authorization, account=OTHER)

    browser.open_callback(address)
    browser.open_callback(address)
    if ends == "other browser":
        work()
        assert sandbox.accepts(token_in(address)), "the person may yet come, after a scanner"
        let_the_state_expire()
    work()

    assert not sandbox.accepts(token_in(address))
    assert stored() == 0
    assert AuditEntry.objects.get(kind="connect.unused_ended").detail["ended_at_snapinspect"] is True
    connected = ends in {"second tab", "used state"}
    assert [connection.badge for connection in acme.connections.all()] == [State.CONNECTED] * connected
    assert sessions.status(session) == {"too late": "expired", "other browser": "started"}.get(ends, "connected")


def test_a_person_without_the_right_to_connect_leaves_no_live_pair(
    sandbox: Sandbox, visit: Visit, bob: User, acme: Customer
) -> None:
    browser = visit(bob)
    address = sandbox.decide(browser.start_connect(acme))
    Membership.objects.filter(user=bob).update(role=Role.VIEWER)

    assert browser.open_callback(address)["Location"] == "/connect/ended/not-allowed/"
    work()

    assert not sandbox.accepts(token_in(address))


def test_allowing_a_second_time_with_a_used_state_ends_the_second_pair_alone(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    authorization = browser.start_connect(acme)
    browser.open_callback(sandbox.decide(authorization))
    work()
    second = sandbox.decide(authorization, account=OTHER)

    browser.open_callback(second)
    work()

    assert not sandbox.accepts(token_in(second))
    assert acme.connections.get().badge == State.CONNECTED
    acme.connections.get().check_soon()
    work()
    assert acme.connections.get().badge == State.CONNECTED


@pytest.mark.parametrize("first", ["scanner", "person"])
@pytest.mark.parametrize("exchange", [True, False])
def test_a_pair_that_a_connection_uses_is_never_ended_by_its_old_address(
    exchange: bool, first: str, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, settings: Settings
) -> None:
    settings.SNAPINSPECT_EXCHANGE_ON_CONNECT = exchange
    browser = visit(alice)
    address = sandbox.decide(browser.start_connect(acme))
    if first == "scanner":
        Visitor().open_callback(address)
    browser.open_callback(address)
    for again in (browser, Visitor(), visit(alice)):
        again.open_callback(address)
    work()
    let_the_state_expire()
    work()

    assert acme.connections.get().badge == State.CONNECTED
    assert sandbox.exchanges() == int(exchange)
    assert sandbox.accepts(token_in(address)) is not exchange
    assert stored() == 0


def test_a_state_that_we_did_not_issue_stores_and_ends_nothing(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    pair = sandbox.grant()
    for browser in (visit(alice), Visitor()):
        browser.open_callback(callback(**pair, token_type="Bearer", state="made-up"))
    work()

    assert (GuestTokenPair.objects.count(), sandbox.exchanges()) == (0, 0)
    assert sandbox.accepts(pair["access_token"])


def test_one_attempt_stores_one_pair_however_many_come(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    address = sandbox.decide(visit(alice).start_connect(acme))
    for number in range(5):
        Visitor().open_callback(as_it_came(address, access_token=f"{number}" * 40))

    assert stored() == 1


@pytest.mark.parametrize("fault", ["lost_answer", "status"])
def test_it_is_sent_once_and_erased_whatever_the_answer(
    fault: str, sandbox: Sandbox, visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    address = sandbox.decide(visit(alice).start_connect(acme))
    sandbox.fault("/integration/ExchangeToken", fault, times=None)

    visit(bob).open_callback(address)
    for _ in range(3):
        work()

    assert (sandbox.exchanges(), stored()) == (1, 0)
    assert AuditEntry.objects.get(kind="connect.unused_ended").detail["ended_at_snapinspect"] is False


def test_what_cannot_be_sent_is_tried_again_and_given_up(
    visit: Visit, alice: User, acme: Customer, settings: Settings, sandbox: Sandbox
) -> None:
    address = sandbox.decide(visit(alice).start_connect(acme))
    ConnectAttempt.objects.update(issued_at=timezone.now() - UNUSABLE)
    settings.SNAPINSPECT_EXCHANGE_URL = "http://127.0.0.1:9/"

    visit(alice).open_callback(address)
    work()
    assert stored() == 1
    GuestTokenPair.objects.update(
        next_try_at=timezone.now(), received_at=timezone.now() - unused_pairs.GIVE_UP_AFTER - timedelta(seconds=1)
    )
    ConnectAttempt.objects.update(issued_at=timezone.now() - 3 * UNUSABLE)
    work()

    assert stored() == 0


def test_a_pair_from_the_history_signs_nobody_in(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    left = sandbox.decide(leave_to_sign_in(Visitor()))
    stranger = Visitor()
    leave_to_sign_in(stranger)
    stranger.open_callback(left)  # another browser than the one that began
    work()
    thief = Visitor()
    own = sandbox.decide(leave_to_sign_in(thief), account=OTHER)
    tokens = dict(part.split("=") for part in urlsplit(left).query.split("&"))

    thief.open_callback(as_it_came(own, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"]))
    work()
    thief.get("/accounts/snapinspect/signing-in/")

    assert who(thief) is None
    assert audited("sign_in.refused") == 1


def test_the_fingerprint_of_the_pair_that_was_used_is_kept_with_the_attempt(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    address = sandbox.decide(browser.start_connect(acme))
    browser.open_callback(address)

    assert ConnectAttempt.objects.get().fingerprint == token_pair.fingerprint(token_in(address))

"""Rows C1-C6 and C16 of the score card: a callback is accepted once, in time, in the session that began it."""

import secrets
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from django.core.signing import Signer
from django.test import Client
from django.utils import timezone

from accounts.models import Customer, User
from integrations import wording
from integrations.connecting import oauth_state
from integrations.models import ConnectAttempt, Connection, State
from tests.support.clients import (
    COMPANY_OF_OTHER,
    COMPANY_OF_PAT,
    OTHER,
    Sandbox,
    Visitor,
    audited,
    callback,
    everything_kept,
    state_of,
    work,
)

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


GOOD_TOKENS = {"access_token": "a" * 40, "refresh_token": "r" * 40, "token_type": "Bearer"}


def test_the_state_is_kept_as_a_hash_only(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> None:
    issued = state_of(visit(alice).start_connect(acme))

    attempt = ConnectAttempt.objects.get()
    assert issued not in str(vars(attempt))
    assert len(attempt.state_hash) == 64


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"state": ""},
        {"state": "two"},
        {"state": secrets.token_urlsafe(32)},
        {"state": Signer(salt="another").sign("nonce")},
        {"state": Signer(salt="integrations.state", sep=".").sign("never issued")},
        {"state": "x" * 10_000},
        {"state": "nul\0byte"},
        {"state": "käse"},
        {"state": "a b"},
        {"state": "%00%ff"},
        {"state": "' OR 1=1 --"},
    ],
    ids=[
        "missing",
        "empty",
        "not signed",
        "random",
        "another salt",
        "never issued",
        "10 kB",
        "NUL",
        "not ASCII",
        "space",
        "percent",
        "SQL",
    ],
)
def test_C1_a_state_that_we_did_not_issue_changes_nothing_and_says_so(
    query: dict[str, str], sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    before = everything_kept()

    response = browser.open_callback(callback(**GOOD_TOKENS, **query))

    assert (response.status_code, response["Location"]) == (303, "/connect/ended/unknown/")
    assert wording.ENDINGS["unknown"].title in browser.get(response["Location"]).text
    assert everything_kept() == before
    assert sandbox.calls() == []
    assert audited("connect.unknown") == 1


def test_C1_two_states_are_no_state(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    good = sandbox.decide(browser.start_connect(acme))

    response = browser.open_callback(good + "&state=" + quote(state_of(good)))

    assert response["Location"] == "/connect/ended/unknown/"
    assert everything_kept() == []
    assert browser.open_callback(good)["Location"] == f"/c/{acme.code}/"  # nothing was used up


def test_C1_a_state_of_another_customers_person_is_refused(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, charlie: User
) -> None:
    address = sandbox.decide(visit(charlie).start_connect(charlie.customers.get()))

    response = visit(alice).open_callback(address)

    assert response["Location"] == "/connect/ended/other-person/"
    assert everything_kept() == []
    assert audited("connect.other-person") == 1


def test_C2_an_attackers_callback_does_nothing_in_the_victims_session_and_is_burnt(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, charlie: User
) -> None:
    visit(alice).connect(acme, sandbox)
    attacker = visit(charlie)
    trap = sandbox.decide(attacker.start_connect(charlie.customers.get()), account=OTHER)
    before = everything_kept()

    assert visit(alice).open_callback(trap)["Location"] == "/connect/ended/other-person/"

    assert everything_kept() == before
    attacker.open_callback(trap)
    assert everything_kept() == before, "the state was not burnt"


def test_C3_a_second_use_is_a_friendly_page_and_no_second_connection(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    address = sandbox.decide(browser.start_connect(acme))
    browser.open_callback(address)
    work()
    before = everything_kept()

    response = browser.open_callback(address)

    assert response["Location"] == f"/c/{acme.code}/"
    assert "used already" in browser.get(response["Location"]).text or audited("connect.used") == 1
    assert everything_kept() == before
    assert sandbox.exchanges() == 1


@pytest.mark.parametrize(
    ("age", "accepted"),
    [(timedelta(seconds=590), True), (timedelta(seconds=601), False), (timedelta(days=-1), False)],
    ids=["590 s", "601 s", "issuer's clock a day ahead"],
)
def test_C4_a_state_is_good_for_ten_minutes_of_the_databases_clock(
    age: timedelta, accepted: bool, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    address = sandbox.decide(browser.start_connect(acme))
    ConnectAttempt.objects.update(issued_at=timezone.now() - age)

    response = browser.open_callback(address)

    assert response["Location"] == (f"/c/{acme.code}/" if accepted else "/connect/ended/expired/")
    assert Connection.objects.exists() is accepted


def test_C5_two_tabs_for_two_customers_end_where_they_began(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    second = Customer.objects.create_with_owner("Second", owner=alice)
    browser = visit(alice)
    for_acme = sandbox.decide(browser.start_connect(acme))
    for_second = sandbox.decide(browser.start_connect(second), account=OTHER)

    assert browser.open_callback(for_second)["Location"] == f"/c/{second.code}/"
    assert browser.open_callback(for_acme)["Location"] == f"/c/{acme.code}/"

    work()
    assert acme.connections.get().company_id == COMPANY_OF_PAT
    assert second.connections.get().company_id == COMPANY_OF_OTHER


@pytest.mark.parametrize("gone", ["signed out", "expired", "other browser", "somebody else signed in"])
def test_C6_without_the_session_that_began_nothing_is_connected_and_no_token_is_passed_on(
    gone: str, sandbox: Sandbox, visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    browser = visit(alice)
    address = sandbox.decide(browser.start_connect(acme))
    if gone == "signed out":
        browser.post("/accounts/logout/")
    elif gone == "expired":
        browser.session.flush()
    elif gone == "other browser":
        browser = visit(alice)
    else:
        browser.force_login(bob)

    response = browser.open_callback(address)

    ended = {"other browser": "other-browser", "somebody else signed in": "other-person"}.get(gone, "signed-out")
    assert (response.status_code, response["Location"]) == (303, f"/connect/ended/{ended}/")
    page = browser.get(response["Location"]).text
    assert wording.ENDINGS[ended].title in page
    assert everything_kept() == []
    for name, value in parse_qsl(urlsplit(address).query):
        if name != "token_type":
            assert value not in page + response["Location"] + str(response.headers)


def test_C16_a_scanner_without_a_session_gets_nothing_and_spoils_nothing(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, stranger: Client
) -> None:
    browser = visit(alice)
    address = sandbox.decide(browser.start_connect(acme))
    scanner = Visitor()

    for _ in range(2):
        assert scanner.open_callback(address)["Location"] == "/connect/ended/signed-out/"
    assert browser.open_callback(address)["Location"] == f"/c/{acme.code}/"
    assert scanner.open_callback(address)["Location"] == "/connect/ended/signed-out/"

    work()
    assert acme.connections.get().badge == State.CONNECTED


def test_a_state_cannot_be_finished_by_who_reads_the_table(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    browser.start_connect(acme)
    attempt = ConnectAttempt.objects.get()

    assert oauth_state.find(attempt.state_hash) is None

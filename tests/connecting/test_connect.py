"""Rows C7, C8, C10, C15 and M4 of the score card: connecting, reconnecting, and what a callback may bring."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from django.conf import settings
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, Membership, Role, User
from integrations.models import ConnectAttempt, State, TokenPair
from tests.support.clients import (
    COMPANY_OF_OTHER,
    COMPANY_OF_PAT,
    OTHER,
    Sandbox,
    Visitor,
    audited,
    callback,
    everything_kept,
    work,
)
from tests.support.measurements import record

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def test_connecting_ends_with_a_proved_connection_whose_url_tokens_are_dead(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    address = sandbox.decide(browser.start_connect(acme))
    travelled = parse_qs(urlsplit(address).query)["access_token"][0]

    response = browser.open_callback(address)

    assert (response.status_code, response["Location"]) == (303, f"/c/{acme.code}/")
    connection = acme.connections.get()
    assert connection.badge == State.CONNECTING
    work()
    connection = acme.connections.get()
    assert connection.badge == State.CONNECTED
    assert connection.company_id == COMPANY_OF_PAT
    assert connection.proved_at is not None
    assert not sandbox.accepts(travelled)
    assert sandbox.exchanges() == 1
    assert [entry.kind for entry in AuditEntry.objects.order_by("pk")] == [
        "connect.started",
        "connect.allowed",
        "tokens.exchanged",
        "connect.connected",
    ]


def test_the_authorization_address_has_exactly_the_four_documented_parameters(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    parts = urlsplit(visit(alice).start_connect(acme))

    assert sorted(name for name, _ in parse_qsl(parts.query)) == ["client_id", "redirect_uri", "response_type", "state"]
    assert parse_qs(parts.query)["response_type"] == ["code"]


def test_no_link_can_start_connecting(visit: Visit, alice: User, acme: Customer) -> None:
    assert visit(alice).get(f"/c/{acme.code}/connect/").status_code == 405


def test_without_a_client_id_connect_is_not_offered(
    visit: Visit, alice: User, acme: Customer, settings: Settings, sandbox: Sandbox
) -> None:
    settings.SNAPINSPECT_CLIENT_ID = settings.SNAPINSPECT_CLIENT_SECRET = ""
    browser = visit(alice)

    assert "Connect with SnapInspect" not in browser.get(f"/c/{acme.code}/").text
    assert browser.post(f"/c/{acme.code}/connect/")["Location"] == f"/c/{acme.code}/"
    assert not ConnectAttempt.objects.exists()


@pytest.mark.parametrize(
    "override",
    [
        {"error": "access_denied", "access_token": None, "refresh_token": None, "token_type": None},
        {"access_token": None, "refresh_token": None, "token_type": None},
        {"error": "", "access_token": None, "refresh_token": None, "token_type": None},
    ],
    ids=["error", "state only", "empty error"],
)
def test_C7_declining_leaves_what_exists_untouched(
    override: dict[str, str | None], sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    before = everything_kept()
    sandbox.fault("/integration/SnapInspectConnect", change=override)

    response = browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection)))

    assert response["Location"] == f"/c/{acme.code}/"
    assert "Nothing was saved" in browser.get(response["Location"]).text
    assert everything_kept() == before


def test_C7_a_return_with_nothing_at_all_is_a_calm_page(visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    response = browser.open_callback("http://localhost:8000/connect/callback/")

    assert response.status_code == 303
    assert browser.get(response["Location"]).status_code == 200


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"change": {"refresh_token": None}}, "no_refresh_token"),
        ({"change": {"access_token": None}}, "no_access_token"),
        ({"change": {"access_token": ""}}, "no_access_token"),
        ({"change": {"token_type": "mac"}}, "not_bearer"),
        ({"change": {"access_token": "with\r\nX-Injected: 1"}}, "odd_token"),
        ({"change": {"refresh_token": "tökén"}}, "odd_token"),
        ({"change": {"access_token": "nul\0"}}, "odd_token"),
        ({"duplicate": ["access_token"]}, "duplicated"),
        ({"duplicate": ["refresh_token"]}, "duplicated"),
        ({"duplicate": ["token_type"]}, "duplicated"),
    ],
    ids=str,
)
@pytest.mark.interface
def test_C8_odd_tokens_are_refused_each_with_its_own_audit_entry(
    fault: dict[str, Any], outcome: str, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    sandbox.fault("/integration/SnapInspectConnect", **fault)

    response = browser.open_callback(sandbox.decide(browser.start_connect(acme)))

    assert response["Location"] == f"/c/{acme.code}/"
    assert browser.get(response["Location"]).status_code == 200
    assert everything_kept() == []
    assert audited(f"connect.{outcome}") == 1
    assert ConnectAttempt.objects.get().outcome == outcome


@pytest.mark.parametrize("token_type", ["bearer", "BEARER", None])
@pytest.mark.interface
def test_C8_bearer_in_any_case_is_bearer(
    token_type: str | None, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    sandbox.fault("/integration/SnapInspectConnect", change={"token_type": token_type})

    assert visit(alice).connect(acme, sandbox).badge == State.CONNECTED


def test_C10_reconnecting_to_another_company_asks_first_and_names_both(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    in_use = TokenPair.objects.current().get(connection=connection).fingerprint

    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection), account=OTHER))
    work()

    connection.refresh_from_db()
    assert connection.company_id == COMPANY_OF_PAT
    assert TokenPair.objects.current().get(connection=connection).fingerprint == in_use
    page = browser.get(f"/c/{acme.code}/").text
    assert "Keep only Harbour Property" in page
    assert f"(company {COMPANY_OF_PAT})" in page
    assert "Add Meadow Lettings as well" in page
    assert f"(company {COMPANY_OF_OTHER})" in page


def test_C10_keeping_drops_the_other_companys_access(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection), account=OTHER))
    work()

    browser.post(f"/c/{acme.code}/connections/{connection.code}/answer/", {"answer": "keep"})

    assert [pair.role for pair in TokenPair.objects.all()] == ["current"]
    assert acme.connections.get().company_id == COMPANY_OF_PAT


def test_C10_adding_makes_a_connection_of_its_own(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection), account=OTHER))
    work()

    browser.post(f"/c/{acme.code}/connections/{connection.code}/answer/", {"answer": "add"})

    assert sorted(acme.connections.values_list("company_id", "state")) == [
        (COMPANY_OF_PAT, State.CONNECTED),
        (COMPANY_OF_OTHER, State.CONNECTED),
    ]
    page = browser.post(f"/c/{acme.code}/connections/{connection.code}/test/", follow=True).text
    assert COMPANY_OF_PAT in page


def test_connecting_a_company_again_renews_the_connection_it_has(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    first = browser.connect(acme, sandbox)

    browser.connect(acme, sandbox)

    assert acme.connections.get().code == first.code
    assert TokenPair.objects.get().role == "current"
    assert acme.connections.get().badge == State.CONNECTED


def test_reconnecting_keeps_the_connection_and_its_old_tokens_until_the_new_ones_work(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    old = TokenPair.objects.current().get()

    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection)))

    assert TokenPair.objects.current().get().pk == old.pk
    assert acme.connections.get().badge == State.CONNECTING
    work()
    assert acme.connections.get().badge == State.CONNECTED
    assert TokenPair.objects.get().pk != old.pk


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_HOST": "localhost:9999"},
        {"HTTP_HOST": "127.0.0.1"},
        {"HTTP_X_FORWARDED_HOST": "evil.example"},
        {"HTTP_X_FORWARDED_SERVER": "evil.example"},
        {"HTTP_X_FORWARDED_PROTO": "https"},
        {"HTTP_X_FORWARDED_PORT": "444"},
        {"HTTP_FORWARDED": "host=evil.example;proto=https"},
        {"HTTP_X_HOST": "evil.example"},
        {"HTTP_X_ORIGINAL_URL": "https://evil.example/"},
        {"HTTP_ORIGIN": "https://evil.example"},
    ],
    ids=str,
)
@pytest.mark.interface
def test_C15_the_redirect_uri_is_the_registered_one_byte_for_byte(
    headers: dict[str, Any], sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    response = browser.post(f"/c/{acme.code}/connect/", **headers)
    if headers.get("HTTP_HOST") == "127.0.0.1":  # another name: first to the one that the callback comes back to
        assert response["Location"] == "http://localhost:8000/"
        response = browser.post(f"/c/{acme.code}/connect/", HTTP_HOST="localhost:8000")

    asked = parse_qs(urlsplit(response["Location"]).query)["redirect_uri"][0]
    assert asked == settings.SNAPINSPECT_REDIRECT_URI
    browser.open_callback(sandbox.decide(response["Location"]))
    work()
    exchange = sandbox.calls("/integration/ExchangeToken")[0]
    assert exchange["redirect_uri"] == settings.SNAPINSPECT_REDIRECT_URI


@pytest.mark.parametrize("change", ["removed", "only looks now"])
def test_M4_who_may_not_connect_any_more_is_refused_on_return(
    change: str, sandbox: Sandbox, visit: Visit, bob: User, acme: Customer
) -> None:
    browser = visit(bob)
    address = sandbox.decide(browser.start_connect(acme))
    membership = Membership.objects.filter(user=bob)
    membership.delete() if change == "removed" else membership.update(role=Role.VIEWER)

    assert browser.open_callback(address)["Location"] == "/connect/ended/not-allowed/"
    record("M4", f"membership before the callback: {change}", f"refused, {len(everything_kept())} rows kept")
    assert everything_kept() == []


def test_M4_who_looks_at_another_customer_meanwhile_connects_the_one_they_began_with(
    sandbox: Sandbox, visit: Visit, bob: User, charlie: User, acme: Customer
) -> None:
    other = charlie.customers.get()
    Membership.objects.create(user=bob, customer=other, role=Role.MEMBER)
    browser = visit(bob)
    address = sandbox.decide(browser.start_connect(acme))
    assert browser.get(f"/c/{other.code}/").status_code == 200
    Membership.objects.filter(user=bob, customer=other).update(role=Role.OWNER)

    assert browser.open_callback(address)["Location"] == f"/c/{acme.code}/"
    work()

    record(
        "M4",
        "the person has switched to another customer before the callback",
        f"{acme.connections.count()} connection of the one they began with, {other.connections.count()} of the other",
    )
    assert (acme.connections.count(), other.connections.count()) == (1, 0)


def test_the_callback_answer_is_not_kept_and_tells_no_referrer(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    for address in (sandbox.decide(browser.start_connect(acme)), callback(state="x")):
        response = browser.open_callback(address)
        assert "no-store" in response["Cache-Control"]
        assert response["Referrer-Policy"] == "no-referrer"
        assert response.content == b""

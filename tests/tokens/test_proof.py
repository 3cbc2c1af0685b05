"""What proves a token: an answer of `/user` about this account, and not any answer with status 2xx."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db.models.functions import Now

from accounts.models import Customer, User
from integrations.calls import api_client, health_check
from integrations.models import Connection, GuestTokenPair, State, TokenPair
from integrations.tokens import proof
from tests.support.clients import COMPANY_OF_OTHER, Sandbox, Visitor, quick_connect, work, work_as_if_later
from tests.support.sign_in import WAITING, leave_to_sign_in, link, who
from tests.support.troubled_connections import pass_time, refuse, state

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.interface]
Visit = Callable[[User], Visitor]

UNAUTHORIZED: list[Any] = [
    {"Message": "Authorization has been denied for this request."},
    {"success": False, "error": "invalid_token"},
    {"status": 401},
]
ABOUT_NOBODY: list[Any] = [
    {"success": False, "message": "Something went wrong"},
    {"error": "maintenance"},
    {"status": "error", "data": None},
    {"Message": "Back soon"},
    {},
    [],
    None,
]
MAINTENANCE: dict[str, dict[str, Any]] = {
    "html": {"kind": "html"},
    "redirect": {"kind": "redirect"},
    "403": {"kind": "status", "status": 403},
    "410": {"kind": "status", "status": 410},
    "404": {"kind": "status", "status": 404},
}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "PAUSE_BEFORE_BELIEVING_401", 0.0)


@pytest.fixture
def connected(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    """Connected some time ago, and working."""
    connection = quick_connect(acme, sandbox, by=alice)
    pass_time(timedelta(hours=7))
    mail.outbox.clear()
    sandbox.control("DELETE", "log")
    return connection


def answers(sandbox: Sandbox, body: Any, *, times: int | None = None) -> None:
    """`/user` has this body and status 200."""
    sandbox.fault("/user", "raw", times=times, body="null" if body is None else body)


@pytest.mark.parametrize("body", ABOUT_NOBODY, ids=str)
def test_an_answer_about_nobody_proves_nothing_and_costs_nothing(
    body: Any, sandbox: Sandbox, connected: Connection
) -> None:
    before = Connection.objects.get().proved_at
    answers(sandbox, body)

    assert health_check.check(connected).error_kind == "no_account"

    assert state(connected) == State.TROUBLE
    assert Connection.objects.get().proved_at == before
    assert sandbox.exchanges() == 0
    sandbox.clear_faults()
    work_as_if_later()
    assert state(connected) == State.CONNECTED
    assert mail.outbox == []


@pytest.mark.parametrize("body", UNAUTHORIZED, ids=str)
def test_an_answer_that_says_unauthorized_is_a_401(body: Any, sandbox: Sandbox, connected: Connection) -> None:
    answers(sandbox, body, times=1)
    assert health_check.check(connected).profile is not None, "it was asked twice"
    assert sandbox.exchanges() == 0

    answers(sandbox, body, times=4)  # of the check, and of the renewal
    assert health_check.check(connected).profile is not None
    assert sandbox.exchanges() == 1
    assert state(connected) == State.CONNECTED


@pytest.mark.parametrize("body", ABOUT_NOBODY, ids=str)
def test_an_answer_about_nobody_connects_nothing(
    body: Any, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    answers(sandbox, body)
    connection = visit(alice).connect(acme, sandbox)

    assert (connection.state, connection.badge) == (State.CONNECTING, State.TROUBLE)
    assert sandbox.exchanges() == 0
    sandbox.clear_faults()
    work_as_if_later()
    assert state(connection) == State.CONNECTED


def test_any_other_object_connects_without_a_company(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    answers(sandbox, {"anything": "else"})
    connection = visit(alice).connect(acme, sandbox)
    assert (connection.state, connection.company_id) == (State.CONNECTED, "")


@pytest.mark.parametrize("body", [{"sName": "Pat", "iCompanyID": 7001}, {"sName": "Pat", "iUserID": 501}], ids=str)
def test_another_company_or_none_is_no_proof_where_the_company_is_known(
    body: dict[str, Any], sandbox: Sandbox, connected: Connection
) -> None:
    before = Connection.objects.get().proved_at
    answers(sandbox, body)

    assert health_check.check(connected).error_kind == "other_account"
    assert health_check.peek(connected).error_kind == "other_account"

    assert state(connected) == State.TROUBLE
    assert Connection.objects.get().proved_at == before
    sandbox.clear_faults()
    work_as_if_later()
    assert state(connected) == State.CONNECTED


def test_a_renewed_pair_of_another_company_is_not_proved(sandbox: Sandbox, connected: Connection) -> None:
    refuse(sandbox)
    sandbox.fault("/user", times=None, change={"iCompanyID": 7001})

    assert health_check.check(connected).error_kind == "other_account"

    assert sandbox.exchanges() == 1
    assert TokenPair.objects.get().proved_at is None
    assert state(connected) == State.TROUBLE


def test_a_lost_exchange_is_not_settled_by_an_answer_about_another_company(
    sandbox: Sandbox, connected: Connection
) -> None:
    TokenPair.objects.update(exchange_sent_at="2026-01-01T00:00:00Z", exchange_sends=1)
    sandbox.fault("/user", times=None, change={"iCompanyID": 7001})

    work_as_if_later()
    assert TokenPair.objects.get().exchange_sent_at is not None
    assert TokenPair.objects.get().error_kind == "other_account"

    sandbox.clear_faults()
    work_as_if_later()
    assert TokenPair.objects.get().exchange_sent_at is None


def test_a_reconnect_with_another_company_still_asks(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection
) -> None:
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connected), account="601"))
    work()
    candidate = Connection.objects.get(pk=connected.pk).candidate
    assert candidate is not None and candidate.asks
    assert candidate.profile["company_id"] == COMPANY_OF_OTHER


@pytest.mark.parametrize("page", MAINTENANCE.values(), ids=MAINTENANCE)
def test_maintenance_pages_are_trouble_and_never_ask_a_person(
    page: dict[str, Any], sandbox: Sandbox, connected: Connection
) -> None:
    sandbox.fault("*", times=None, **page)
    for _ in range(5):
        work_as_if_later()
        assert state(connected) == State.TROUBLE
    assert sandbox.exchanges() == 0
    sandbox.clear_faults()
    work_as_if_later()
    assert state(connected) == State.CONNECTED
    assert mail.outbox == []


@pytest.mark.parametrize("page", MAINTENANCE.values(), ids=MAINTENANCE)
def test_a_connect_during_maintenance_is_finished_afterwards(
    page: dict[str, Any], sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    sandbox.fault("/user", times=None, **page)
    connection = visit(alice).connect(acme, sandbox)
    assert connection.badge == State.TROUBLE
    sandbox.clear_faults()
    work_as_if_later()
    assert state(connection) == State.CONNECTED


def test_an_answer_with_status_200_that_fails_does_not_prove_a_new_pair(
    sandbox: Sandbox, connected: Connection
) -> None:
    odd: list[Any] = [{"success": False}, {}, []]
    for body in odd:
        TokenPair.objects.update(proved_at=None)
        sandbox.fault("/inspections", "raw", body=body)
        api_client.get_raw(connected, "inspections")
        assert TokenPair.objects.get().proved_at is None
    api_client.get_raw(connected, "inspections")
    assert TokenPair.objects.get().proved_at is not None


def test_pages_say_that_the_answer_was_not_about_this_account(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection
) -> None:
    sandbox.fault("*", "raw", times=None, body={"success": False, "message": "secret of theirs"})
    browser = visit(alice)
    where = f"/c/{acme.code}/"

    tested = browser.post(f"{where}connections/{connected.code}/test/", follow=True).content.decode()
    panel = browser.get(f"{where}connections/{connected.code}/panels/account/").content.decode()
    for page in (tested, panel):
        assert "response is not about this account." in page
        assert "secret of theirs" not in page
    asked = browser.post(f"{where}explorer/", {"connection": connected.code, "path": "user"}, follow=True)
    assert "SnapInspect responded with an error instead of data." in asked.content.decode()
    assert "secret of theirs" in asked.content.decode(), "an owner reads the answer itself"


def test_nobody_is_signed_in_by_an_answer_that_fails(sandbox: Sandbox, visit: Visit, alice: User) -> None:
    link(visit(alice), sandbox)
    browser = Visitor()
    browser.open_callback(sandbox.decide(leave_to_sign_in(browser)))
    answers(sandbox, {"success": False, "iUserID": 501})
    work()
    assert "Checking your login" in browser.get(WAITING).content.decode()
    assert who(browser) is None

    sandbox.clear_faults()
    GuestTokenPair.objects.update(next_try_at=Now())
    work()
    browser.get(WAITING)
    assert who(browser) == alice

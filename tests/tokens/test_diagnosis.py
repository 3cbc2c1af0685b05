"""Whose trouble a refusal is: the connection's, SnapInspect's, or this app's."""

import math
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as project
from django.core import mail
from django.db import transaction
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.calls import api_client
from integrations.models import Connection, ExchangeStatus, Kind, State, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody, diagnosis, renewal, storage
from tests.support.clients import PAT, Sandbox, work
from tests.support.troubled_connections import connect, fails, pass_time, refuse, state, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)
EXCHANGE = "/integration/ExchangeToken"
LONG_STEP = timedelta(minutes=5)
NO_REASON: dict[str, Any] = {"status": 400, "body": ""}


def explained(reason: str, status: int = 400) -> dict[str, Any]:
    return {"status": status, "body": {"error": reason}}


@pytest.fixture
def fleet(sandbox: Sandbox, alice: User, acme: Customer) -> list[Connection]:
    """Three connections, connected some time ago, and working."""
    made = connect(sandbox, acme, alice, 3)
    pass_time(timedelta(hours=7))
    sandbox.control("DELETE", "log")
    mail.outbox.clear()
    return made


@pytest.fixture
def personal(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    """A connection by a personal access token."""
    made = Connection.objects.create(customer=acme, kind=Kind.PERSONAL, connected_by=alice)
    token = sandbox.control("POST", "personal", {"account": PAT})["token"]
    with transaction.atomic():
        custody.receive_personal(made, token, by=alice)
    work()
    made.refresh_from_db()
    return made


def only(sandbox: Sandbox, connection: Connection, path: str, *, times: int | None = None, **settings: Any) -> None:
    """Injects a fault that this connection alone meets."""
    sandbox.fault(path, times=times, company=int(connection.company_id), **settings)


def later(passed: timedelta, step: timedelta = timedelta(minutes=1)) -> None:
    """Lets time pass step by step, with workers at work."""
    for _ in range(math.ceil(passed / step)):
        pass_time(step)
        jobs.sweep()
        work_until_idle()


def customer_mails() -> list[str]:
    return [str(letter.subject) for letter in mail.outbox if project.OPERATOR_EMAIL not in letter.to]


# A new pair that is refused.


def test_a_new_pair_that_is_refused_for_some_minutes_asks_nobody(sandbox: Sandbox, fleet: list[Connection]) -> None:
    mine = fleet[0]
    only(sandbox, mine, "/user", status=401)
    assert fails(mine).error_kind == "new_token_refused"
    later(timedelta(minutes=13))
    assert (state(mine), sandbox.exchanges()) == (State.TROUBLE, 1)

    sandbox.clear_faults()
    later(timedelta(minutes=6))

    assert state(mine) == State.CONNECTED
    assert sandbox.exchanges() == 1
    assert customer_mails() == []


def test_a_new_pair_that_stays_refused_needs_a_person_after_a_quarter_of_an_hour(
    sandbox: Sandbox, fleet: list[Connection]
) -> None:
    mine = fleet[0]
    only(sandbox, mine, "/user", status=401)
    fails(mine)

    later(timedelta(minutes=14))
    assert state(mine) == State.TROUBLE
    later(timedelta(minutes=7))

    assert state(mine) == State.NEEDS_RECONNECT
    assert sandbox.exchanges() == 1
    assert len(customer_mails()) == 1


def test_an_exchange_that_a_worker_resumes_and_whose_pair_is_refused_is_asked_about_soon(
    sandbox: Sandbox, fleet: list[Connection]
) -> None:
    mine = fleet[0]
    Connection.objects.update(next_check_at=Now() + timedelta(days=1))
    TokenPair.objects.filter(connection=mine).update(exchange_sent_at=Now(), exchange_sends=1, next_try_at=Now())
    only(sandbox, mine, "/user", status=401)
    renewal.resume(TokenPair.objects.get(connection=mine).pk)

    assert sandbox.exchanges() == 1
    assert Connection.objects.due_for_check().filter(pk=mine.pk).exists()
    work_until_idle()
    assert state(mine) == State.TROUBLE
    later(timedelta(minutes=21))
    assert state(mine) == State.NEEDS_RECONNECT


def test_a_connect_whose_new_pair_is_refused_for_some_minutes_is_completed(
    sandbox: Sandbox, alice: User, acme: Customer
) -> None:
    account = str(sandbox.control("POST", "accounts", {"company": 20_000})["account"])
    old = sandbox.grant(account)
    sandbox.fault("/user", status=401, times=None, company=20_000)
    made = Connection.objects.create(customer=acme, connected_by=alice)
    with transaction.atomic():
        pair = token_pair.TokenPair(old["access_token"], old["refresh_token"])
        custody.receive_exchanged(made, storage.columns(pair, made), by=alice)
    work()
    assert made.badge == State.TROUBLE

    sandbox.clear_faults()
    later(timedelta(minutes=6))

    assert state(made) == State.CONNECTED
    assert customer_mails() == []


# Compared with others.


def test_what_everybody_is_refused_asks_nobody_and_ends_by_itself(sandbox: Sandbox, fleet: list[Connection]) -> None:
    sandbox.fault("/user", status=401, times=None)
    sandbox.fault(EXCHANGE, **NO_REASON, times=None)
    for connection in fleet:
        assert fails(connection).is_outage
    later(timedelta(hours=1), LONG_STEP)
    assert {state(connection) for connection in fleet} == {State.TROUBLE}
    sent = sandbox.exchanges()
    assert sent <= 2 * len(fleet), "no refresh token is sent again and again"

    sandbox.clear_faults()
    later(timedelta(minutes=6))

    assert {state(connection) for connection in fleet} == {State.CONNECTED}
    assert sandbox.exchanges() == sent
    assert customer_mails() == []
    assert len(mail.outbox) == 1, "the operator is told once"


def test_a_token_that_expires_while_everybody_is_refused_is_exchanged_afterwards(
    sandbox: Sandbox, fleet: list[Connection]
) -> None:
    refuse(sandbox)
    sandbox.fault("/user", status=401, times=None)
    sandbox.fault(EXCHANGE, **NO_REASON, times=None)
    fails(fleet[0])
    later(timedelta(minutes=30), LONG_STEP)
    sandbox.clear_faults()
    for connection in fleet[1:]:
        api_client.get(connection, "user")
    later(timedelta(minutes=10))

    assert {state(connection) for connection in fleet} == {State.CONNECTED}
    assert customer_mails() == []


def test_who_is_asked_for_the_others_is_neither_renewed_nor_changed(sandbox: Sandbox, fleet: list[Connection]) -> None:
    mine, *others = fleet
    before = (
        list(Connection.objects.exclude(pk=mine.pk).values()),
        list(TokenPair.objects.exclude(connection=mine).values()),
    )
    sandbox.fault("/user", status=401, times=None)

    assert diagnosis.accepts_others(mine) is False
    sandbox.clear_faults()
    assert diagnosis.accepts_others(mine) is True

    after = (
        list(Connection.objects.exclude(pk=mine.pk).values()),
        list(TokenPair.objects.exclude(connection=mine).values()),
    )
    assert before == after
    assert sandbox.exchanges() == 0
    assert len(sandbox.calls("/user")) == len(others) + 1, "each is asked once, until one is accepted"


def test_an_outage_that_ends_while_the_others_are_asked_asks_nobody(
    sandbox: Sandbox, fleet: list[Connection], personal: Connection
) -> None:
    # A call and the two checks after it; the next one is answered.
    only(sandbox, personal, "/user", status=401, times=3)

    assert api_client.get(personal, "user").status == 200

    assert state(personal) == State.CONNECTED
    assert customer_mails() == []


def test_a_personal_token_that_is_refused_like_everybodys_needs_nobody(
    sandbox: Sandbox, fleet: list[Connection], personal: Connection
) -> None:
    sandbox.fault("/user", status=401, times=None)
    assert fails(personal).is_outage
    later(timedelta(minutes=20))
    assert state(personal) == State.TROUBLE

    sandbox.clear_faults()
    later(timedelta(minutes=6))
    assert state(personal) == State.CONNECTED
    sandbox.control("POST", "revoke_all", {"kind": "personal"})
    assert not fails(personal).is_outage
    assert state(personal) == State.NEEDS_RECONNECT


# This app's own credentials.


@pytest.mark.parametrize(
    ("reason", "status"),
    [("invalid_client", 401), ("unauthorized_client", 400), ("Invalid_Client", 403), ("invalid_client", 200)],
)
def test_an_exchange_that_names_the_client_is_a_setup_problem(
    reason: str, status: int, sandbox: Sandbox, fleet: list[Connection]
) -> None:
    sandbox.fault(EXCHANGE, **explained(reason, status), times=None)
    refuse(sandbox)
    for connection in fleet:
        assert fails(connection).error_kind == "exchange_refused"
        assert state(connection) == State.SETUP_PROBLEM
    assert sandbox.exchanges() == len(fleet)


def test_a_setup_problem_is_asked_about_slowly_and_heals(sandbox: Sandbox, fleet: list[Connection]) -> None:
    sandbox.fault(EXCHANGE, **explained("invalid_client", 401), times=None)
    refuse(sandbox)
    for connection in fleet:
        fails(connection)
    sent = sandbox.exchanges()

    later(timedelta(minutes=30), LONG_STEP)
    assert {state(connection) for connection in fleet} == {State.SETUP_PROBLEM}
    assert sandbox.exchanges() - sent <= 5 * len(fleet), "slowly"
    sandbox.clear_faults()
    later(timedelta(minutes=61), LONG_STEP)

    assert {state(connection) for connection in fleet} == {State.CONNECTED}
    assert customer_mails() == []


@pytest.mark.parametrize("status", [400, 401])
def test_an_exchange_that_names_the_grant_needs_a_person_at_once(
    status: int, sandbox: Sandbox, fleet: list[Connection]
) -> None:
    mine = fleet[0]
    only(sandbox, mine, "/user", status=401)
    sandbox.fault(EXCHANGE, **explained("invalid_grant", status), times=None)

    assert not fails(mine).is_outage

    assert state(mine) == State.NEEDS_RECONNECT
    assert sandbox.exchanges() == 1


def test_a_refusal_without_a_reason_is_this_apps_trouble_if_another_connection_meets_it_too(
    sandbox: Sandbox, fleet: list[Connection]
) -> None:
    first, second, _ = fleet
    sandbox.fault(EXCHANGE, **NO_REASON, times=None)
    for connection in (first, second):
        only(sandbox, connection, "/user", status=401)

    assert fails(first).error_kind == "exchange_rejected"
    assert state(first) == State.TROUBLE, "it may be this app's trouble"
    assert fails(second).error_kind == "exchange_refused"
    later(timedelta(minutes=6))
    assert {state(first), state(second)} == {State.SETUP_PROBLEM}
    later(timedelta(minutes=30), LONG_STEP)
    assert {state(first), state(second)} == {State.SETUP_PROBLEM}

    sandbox.clear_faults()
    refuse(sandbox)
    later(timedelta(minutes=61), LONG_STEP)
    assert {state(connection) for connection in fleet[:2]} == {State.CONNECTED}
    assert customer_mails() == []


def test_a_refusal_without_a_reason_is_this_apps_trouble_if_its_secret_has_never_been_accepted(
    sandbox: Sandbox, fleet: list[Connection], settings: Settings
) -> None:
    mine = fleet[0]
    right = settings.SNAPINSPECT_CLIENT_SECRET
    settings.SNAPINSPECT_CLIENT_SECRET = "another"
    sandbox.fault(EXCHANGE, **NO_REASON, times=None)
    only(sandbox, mine, "/user", status=401)

    assert fails(mine).error_kind == "exchange_refused"
    assert state(mine) == State.SETUP_PROBLEM

    sandbox.clear_faults()
    refuse(sandbox)
    settings.SNAPINSPECT_CLIENT_SECRET = right
    later(timedelta(minutes=5))
    assert state(mine) == State.CONNECTED
    assert customer_mails() == []


def test_a_refusal_without_a_reason_that_nobody_else_meets_needs_a_person_after_a_quarter_of_an_hour(
    sandbox: Sandbox, fleet: list[Connection]
) -> None:
    mine = fleet[0]
    only(sandbox, mine, "/user", status=401)
    sandbox.fault(EXCHANGE, **NO_REASON, times=None)
    assert fails(mine).is_outage
    later(timedelta(minutes=14))
    assert state(mine) == State.TROUBLE

    later(timedelta(minutes=7))

    assert state(mine) == State.NEEDS_RECONNECT
    assert sandbox.exchanges() == 2
    assert len(customer_mails()) == 1


def test_the_client_secret_is_not_stored(sandbox: Sandbox, fleet: list[Connection], settings: Settings) -> None:
    kept = ExchangeStatus.objects.get()
    assert kept.accepted_secret
    assert settings.SNAPINSPECT_CLIENT_SECRET not in str(ExchangeStatus.objects.values())
    assert settings.SNAPINSPECT_CLIENT_SECRET[:8] not in kept.accepted_secret

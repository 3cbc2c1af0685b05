"""Rows R12 to R15 of the score card: what is no reason to exchange."""

from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as project
from django.core import mail
from django.db import transaction
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.calls import api_client, health_check
from integrations.models import Connection, ExchangeStatus, Kind, State, TokenPair
from integrations.snapinspect.client import Client
from integrations.tokens import custody, exchange_limit, lease, renewal, storage
from tests.support.clients import PAT, Sandbox, audited, quick_connect, work, work_as_if_later
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.troubled_connections import connect, fails, pass_time, state, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)
EXCHANGE = "/integration/ExchangeToken"
SHORT_DEADLINE = 0.3  # seconds


@pytest.fixture
def connected(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    """Connected some time ago, and working."""
    connection = quick_connect(acme, sandbox, by=alice)
    pass_time(timedelta(hours=7))
    sandbox.control("DELETE", "log")
    return connection


@pytest.fixture
def personal(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    """A connection by a personal access token."""
    connection = Connection.objects.create(customer=acme, kind=Kind.PERSONAL, connected_by=alice)
    token = sandbox.control("POST", "personal", {"account": PAT})["token"]
    with transaction.atomic():
        custody.receive_personal(connection, token, by=alice)
    work()
    connection.refresh_from_db()
    assert connection.state == State.CONNECTED
    return connection


def mail_to(*addresses: str) -> list[str]:
    """The subjects of what these were sent."""
    return [str(letter.subject) for letter in mail.outbox if set(letter.to) & set(addresses)]


@pytest.mark.slow
def test_R12_healthy_connections_are_never_exchanged(
    sandbox: Sandbox, alice: User, acme: Customer, connected: Connection
) -> None:
    days, fleet = 30, [connected, *connect(sandbox, acme, alice, 4)]
    sandbox.control("DELETE", "log")

    for _ in range(days):
        pass_time(timedelta(days=1))
        jobs.sweep()
        work_until_idle()
        for connection in fleet:
            api_client.get(connection, "inspections")

    asked = len(sandbox.calls("/user"))
    record("R12", "30 simulated days of a healthy API", f"{sandbox.exchanges()} exchanges after the connect")
    assert sandbox.exchanges() == 0
    assert asked == days * len(fleet), "each is asked once a day"
    assert {state(connection) for connection in fleet} == {State.CONNECTED}
    assert mail.outbox == []


NOT_AN_EXPIRY: dict[str, dict[str, Any]] = {
    "403": {"kind": "status", "status": 403},
    "404": {"kind": "status", "status": 404},
    "429": {"kind": "status", "status": 429},
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503},
    "timeout": {"kind": "hang"},
    "hangs up": {"kind": "close"},
    "html": {"kind": "html"},
    "DNS": {},
    "TLS": {},
}


@pytest.mark.parametrize("trouble", NOT_AN_EXPIRY)
@pytest.mark.interface
def test_R13_what_is_not_a_401_is_no_reason_to_exchange(
    trouble: str, sandbox: Sandbox, connected: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = settings.SNAPINSPECT_API_URL
    if trouble == "DNS":
        settings.SNAPINSPECT_API_URL = "https://nothing.invalid/"
    elif trouble == "TLS":
        settings.SNAPINSPECT_API_URL = f"https://127.0.0.1:{urlsplit(sandbox.url).port}/"
    else:
        for path in ("/user", "/inspections"):
            sandbox.fault(path, times=None, **NOT_AN_EXPIRY[trouble])

    with monkeypatch.context() as patched:
        patched.setattr(storage, "Client", partial(Client, deadline=SHORT_DEADLINE))
        kinds = {fails(connected, path).error_kind for path in ("user", "inspections")}
        health_check.check(connected)
        work_as_if_later()

    record("R13", trouble, f"{sandbox.exchanges()} exchanges")
    assert "token_refused" not in kinds
    assert sandbox.exchanges() == 0
    assert state(connected) == State.TROUBLE
    sandbox.clear_faults()
    settings.SNAPINSPECT_API_URL = right
    work_as_if_later()
    assert state(connected) == State.CONNECTED
    assert mail.outbox == []


@pytest.mark.parametrize("refused", ["a single 401", "401 on another path"])
def test_R13_a_401_that_is_not_proven_is_no_reason_to_exchange(
    refused: str, sandbox: Sandbox, connected: Connection
) -> None:
    if refused == "a single 401":
        sandbox.fault("/user", "status", status=401)
        health_check.check(connected)
        api_client.get(connected, "user")
    else:
        sandbox.fault("/inspections", "status", times=None, status=401)
        fails(connected, "inspections")

    record("R13", refused, f"{sandbox.exchanges()} exchanges")
    assert sandbox.exchanges() == 0
    assert state(connected) == State.CONNECTED


@pytest.mark.slow
def test_R14_while_everybody_is_refused_only_few_are_exchanged_and_all_work_again_afterwards(
    sandbox: Sandbox, alice: User, acme: Customer, settings: Settings
) -> None:
    settings.SNAPINSPECT_EXCHANGE_ON_CONNECT = False
    fleet = connect(sandbox, acme, alice, size(45, 500))
    sandbox.control("DELETE", "log")
    for path in ("/user", "/inspections"):
        sandbox.fault(path, "status", times=None, status=401)

    limited_after = None
    for minute in range(size(8, 60)):
        # People and webhooks call all the time, whatever the routine checks do.
        for connection in fleet[minute % 10 :: 10]:
            fails(connection, "inspections")
        jobs.sweep()
        work_until_idle()
        if limited_after is None and exchange_limit.is_limiting():
            limited_after = minute
        pass_time(timedelta(minutes=1))
    exchanged = sandbox.exchanges() / len(fleet)
    alarms = mail_to(project.OPERATOR_EMAIL)
    sandbox.clear_faults()
    for _ in range(10):
        pass_time(timedelta(minutes=1))
        jobs.sweep()
        work_until_idle()

    working = sum(api_client.get(connection, "user").status == 200 for connection in fleet)
    record(
        "R14",
        "every connection is refused for an hour",
        f"limited after {limited_after} min, {exchanged:.0%} exchanged, {len(alarms)} mail to the operator;"
        f" afterwards {working} of {len(fleet)} work",
    )
    assert limited_after is not None
    assert limited_after <= 5
    assert exchanged <= 0.2
    assert len(alarms) == 1
    assert working == len(fleet)
    assert {state(connection) for connection in fleet} == {State.CONNECTED}
    assert not exchange_limit.is_limiting()
    assert audited("exchanges.limited") == audited("exchanges.not_limited") == 1


@pytest.mark.slow
def test_when_everybodys_tokens_are_ended_for_good_all_are_exchanged_within_minutes(
    sandbox: Sandbox, alice: User, acme: Customer, settings: Settings
) -> None:
    settings.SNAPINSPECT_EXCHANGE_ON_CONNECT = False
    fleet = connect(sandbox, acme, alice, 25)
    sandbox.control("POST", "revoke_all", {"kind": "access"})
    ExchangeStatus.objects.update_or_create(pk=1, defaults={"limited_since": "2020-01-01T00:00Z"})

    pass_time(timedelta(days=1))
    jobs.sweep()
    work_until_idle()

    assert {state(connection) for connection in fleet} == {State.CONNECTED}
    assert sandbox.exchanges() == len(fleet)
    assert not exchange_limit.is_limiting()
    assert mail_to(project.OPERATOR_EMAIL) == []


@pytest.mark.slow
def test_tokens_that_all_died_are_named_after_a_day_though_nobody_works_again(
    sandbox: Sandbox, alice: User, acme: Customer, settings: Settings
) -> None:
    settings.SNAPINSPECT_EXCHANGE_ON_CONNECT = False
    fleet = connect(sandbox, acme, alice, 7)
    sandbox.control("DELETE", "log")
    sandbox.control("POST", "revoke_all")

    def named_after(passed: timedelta) -> int:
        pass_time(passed)
        for _ in range(5):
            for connection in fleet:
                fails(connection)
            jobs.sweep()
            work_until_idle()
            pass_time(timedelta(minutes=1))
        return sum(state(connection) == State.NEEDS_RECONNECT for connection in fleet)

    assert [named_after(timedelta(hours=hours)) for hours in (0, 1, 9, 10)] == [0, 0, 0, 0]
    assert sandbox.exchanges() == len(fleet), "each has had its one exchange"
    assert {len(mail_to(project.OPERATOR_EMAIL)), len(mail.outbox)} == {1}
    assert named_after(renewal.WAIT_FOR_ACCEPTANCE - timedelta(hours=20)) == len(fleet)
    assert sandbox.exchanges() == len(fleet)


@pytest.mark.slow
def test_a_connection_that_was_never_refused_does_not_end_the_limit_while_others_wait(
    sandbox: Sandbox, alice: User, acme: Customer, connected: Connection, settings: Settings
) -> None:
    settings.SNAPINSPECT_EXCHANGE_ON_CONNECT = False
    fleet = connect(sandbox, acme, alice, 20)
    sandbox.control("DELETE", "log")
    for connection in fleet:
        sandbox.fault("/user", "status", times=None, status=401, company=int(connection.company_id))
    for connection in fleet:
        fails(connection)
    assert exchange_limit.is_limiting()
    sent = sandbox.exchanges()
    assert sent <= max(exchange_limit.LEAST, exchange_limit.SHARE * len(fleet)) + 1

    for _ in range(5):
        health_check.check(connected)
        assert exchange_limit.is_limiting()
    work_as_if_later()

    assert len(mail_to(project.OPERATOR_EMAIL)) == 1
    assert sandbox.exchanges() <= sent + 1

    Connection.objects.filter(pk__in=[connection.pk for connection in fleet]).delete()
    health_check.check(connected)
    assert not exchange_limit.is_limiting(), "nobody waits any more, and it is not over"


def test_R15_a_refused_personal_token_never_touches_the_exchange(sandbox: Sandbox, personal: Connection) -> None:
    mail.outbox.clear()
    sandbox.control("POST", "revoke_all", {"kind": "personal"})

    failures = [fails(personal, path) for path in ("user", "inspections", "user")]
    error_kind = health_check.replace_tokens(personal, by=User.objects.get())
    for _ in range(3):
        work_as_if_later()

    record(
        "R15",
        "a personal access token is revoked",
        f"{sandbox.exchanges()} exchanges, {len(mail.outbox)} notice: {mail.outbox[0].subject.partition(': ')[2]}",
    )
    assert sandbox.exchanges() == 0
    assert {(failure.error_kind, failure.is_outage) for failure in failures} == {("token_refused", False)}
    assert state(personal) == State.NEEDS_RECONNECT
    assert error_kind == "nothing_kept"
    assert len(mail.outbox) == 1
    assert "needs a new token" in mail.outbox[0].subject


def test_a_personal_token_is_not_replaced_by_an_exchange_and_nothing_is_the_worse_for_trying(
    sandbox: Sandbox, personal: Connection, alice: User
) -> None:
    assert health_check.replace_tokens(personal, by=alice) == "nothing_kept"

    assert sandbox.exchanges() == 0
    assert state(personal) == State.CONNECTED


def test_pressing_replace_while_another_exchange_is_under_way_is_no_trouble(
    sandbox: Sandbox, alice: User, connected: Connection
) -> None:
    version = TokenPair.objects.get().version
    held = lease.claim_current(*(custody.current_pair(connected) or (0, 0)))
    assert held is not None

    with held:
        assert health_check.replace_tokens(connected, by=alice) == "busy"

    assert state(connected) == State.CONNECTED
    assert TokenPair.objects.get().version == version

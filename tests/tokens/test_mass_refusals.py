"""Row R14 of the score card, too: SnapInspect refuses everybody for a while, and nobody is asked to reconnect."""

import math
import random
from contextlib import suppress
from datetime import timedelta

import pytest
from django.conf import settings as project
from django.core import mail
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.calls import api_client
from integrations.models import Connection, State
from integrations.tokens import exchange_limit
from tests.support.clients import Sandbox
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.troubled_connections import connect, connect_many, pass_time, state, work_until_idle

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
EXCHANGE = "/integration/ExchangeToken"
MINUTE = timedelta(minutes=1)
# Of the connections, within five minutes.
SHARE_ASKED = 0.08


@pytest.fixture
def fleet(sandbox: Sandbox, alice: User, acme: Customer, settings: Settings) -> list[Connection]:
    """Connections that were asked some time ago, and will be by their schedule within a day."""
    settings.SNAPINSPECT_EXCHANGE_ON_CONNECT = False
    made = connect_many(sandbox, acme, alice, size(40, 2000))
    pass_time(timedelta(hours=7))
    for number, connection in enumerate(made):
        due = Now() + timedelta(days=1) * ((number + 1) / len(made))
        Connection.objects.filter(pk=connection.pk).update(next_check_at=due)
    sandbox.control("DELETE", "log")
    mail.outbox.clear()
    return made


def revoke(sandbox: Sandbox, connections: list[Connection]) -> None:
    """Ends the tokens of these alone."""
    companies = {int(connection.company_id) for connection in connections}
    for token in sandbox.tokens() if companies else []:
        if token["company"] in companies:
            sandbox.control("POST", "revoke", {"token": token["token"]})


def customer_mails() -> int:
    return sum(project.OPERATOR_EMAIL not in letter.to for letter in mail.outbox)


def call(connection: Connection) -> None:
    """A call as for an event: it may fail, in whatever way."""
    with suppress(api_client.NoAnswer):
        api_client.get(connection, "inspections")


def work() -> None:
    jobs.sweep()
    work_until_idle()


def states(fleet: list[Connection]) -> dict[str, int]:
    found = Connection.objects.filter(pk__in=[each.pk for each in fleet]).values_list("state", flat=True)
    return {name: list(found).count(name) for name in found}


def refuse_everybody(sandbox: Sandbox, exchange: str) -> None:
    for path in ("/user", "/inspections"):
        sandbox.fault(path, "status", times=None, status=401)
    if exchange != "answers":
        body = '{"error": "invalid_grant"}' if exchange == "says invalid_grant" else ""
        sandbox.fault(EXCHANGE, "status", times=None, status=400 if body else 401, body=body)


@pytest.mark.parametrize("exchange", ["answers", "refuses", "says invalid_grant"])
@pytest.mark.parametrize(
    ("seconds", "dead"), [(5, 0), (30, 0), (300, 0), (300, 0.01)], ids=["5 s", "30 s", "300 s", "300 s, 1% dead"]
)
def test_R14_a_blip_of_401s_asks_nobody_but_those_whose_tokens_are_dead(
    seconds: int, dead: float, exchange: str, sandbox: Sandbox, fleet: list[Connection]
) -> None:
    order = random.Random(seconds).sample(fleet, len(fleet))
    died = order[: math.ceil(len(fleet) * dead)]
    revoke(sandbox, died)
    asked = max(1, round(len(fleet) * SHARE_ASKED * seconds / 300))
    refuse_everybody(sandbox, exchange)
    for begun in range(0, seconds, 30):
        for connection in order[asked * begun // seconds : asked * min(begun + 30, seconds) // seconds]:
            call(connection)
        work()
        pass_time(timedelta(seconds=min(30, seconds - begun)))
    sent = Connection.objects.exclude(exchange_pending_since=None).count()
    held = states(fleet)
    sandbox.clear_faults()
    for minute in range(20):
        for connection in [*died, *order[asked + minute :: 60]]:
            call(connection)
        work()
        pass_time(MINUTE)

    after = states(fleet)
    record(
        "R14",
        f"{seconds} s of 401s for everybody ({SHARE_ASKED:.0%} asked in 5 min), the exchange {exchange}"
        + (f", {dead:.0%} of the tokens are dead" if dead else ""),
        f"{asked} of {len(fleet)} asked, {sent} exchanged, {held}; 20 min later {after}, {customer_mails()} mails",
    )
    assert {state(connection) for connection in died} <= {State.NEEDS_RECONNECT}
    assert after == {State.CONNECTED: len(fleet) - len(died)} | ({State.NEEDS_RECONNECT: len(died)} if died else {})
    assert customer_mails() == len(died)
    assert sent <= exchange_limit.LEAST + exchange_limit.SHARE * asked + 1
    assert not exchange_limit.is_limiting()


@pytest.mark.parametrize("exchange", ["answers", "refuses", "says invalid_grant"])
def test_R14_a_connection_refused_every_minute_for_an_hour_asks_nobody(
    exchange: str, sandbox: Sandbox, alice: User, acme: Customer, settings: Settings
) -> None:
    settings.SNAPINSPECT_EXCHANGE_ON_CONNECT = False
    fleet = connect(sandbox, acme, alice, size(10, 60))
    pass_time(timedelta(hours=7))
    sandbox.control("DELETE", "log")
    refuse_everybody(sandbox, exchange)

    for connection in fleet:
        call(connection)
        work()
        pass_time(MINUTE)
    sent, during = sandbox.exchanges(), states(fleet)
    alarms = len(mail.outbox) - customer_mails()
    sandbox.clear_faults()
    for _ in range(20):
        work()
        pass_time(MINUTE)

    record(
        "R14",
        f"as many connections as minutes, one refused each minute, the exchange {exchange}",
        f"{len(fleet)} connections, {sent} exchanges, {during}, {customer_mails()} mails, {alarms} to the operator;"
        f" 20 min later {states(fleet)}",
    )
    assert customer_mails() == 0
    assert alarms == 1
    assert during == {State.TROUBLE: len(fleet)}
    assert states(fleet) == {State.CONNECTED: len(fleet)}
    assert sent <= len(fleet)

"""Row O9 of the score card: a host whose clock jumps. Leases are judged by the database's clock."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection as database
from django.utils import timezone

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.calls import api_client
from integrations.models import Connection, State
from integrations.tokens import custody, lease
from tests.support.clients import Sandbox, quick_connect, work, work_as_if_later
from tests.support.measurements import record
from tests.support.wait import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

EXCHANGE = "/integration/ExchangeToken"
JUMPS = {"a day ahead": timedelta(days=1), "a day back": -timedelta(days=1), "an hour back": -timedelta(hours=1)}


@pytest.fixture
def connected(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    return quick_connect(acme, sandbox, by=alice)


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Sets this process's clocks, but for the database's, off by so much."""
    now, clock = timezone.now, time.time

    def jumped(by: timedelta) -> None:
        monkeypatch.setattr(timezone, "now", lambda: now() + by)
        monkeypatch.setattr(time, "time", lambda: clock() + by.total_seconds())

    return jumped


@pytest.mark.parametrize("by", JUMPS.values(), ids=JUMPS)
def test_O9_a_clock_that_jumps_steals_no_lease(
    by: timedelta, connected: Connection, sandbox: Sandbox, jump: Callable[[timedelta], None]
) -> None:
    (pk, version), exchanges = custody.current_pair(connected) or (0, 0), sandbox.exchanges()
    held = lease.claim_current(pk, version)
    assert held is not None
    with held:
        jump(by)
        assert lease.claim_current(pk, version) is None
        jobs.sweep()
        work_as_if_later()
        assert held.exchange()
    words = next(words for words, jumped in JUMPS.items() if jumped == by)
    record("O9", f"a clock jumps {words} under a lease", f"not stolen, {sandbox.exchanges() - exchanges} exchange")
    assert sandbox.exchanges() == exchanges + 1
    assert custody.current_pair(connected) == (pk, version + 1)
    assert lease.claim_current(pk, version + 1) is not None, "given back, and free for the next"


@pytest.mark.parametrize("by", JUMPS.values(), ids=JUMPS)
def test_O9_a_clock_that_jumps_during_an_exchange_makes_no_second_one(
    by: timedelta, connected: Connection, sandbox: Sandbox, jump: Callable[[timedelta], None]
) -> None:
    sandbox.control("POST", "revoke_all", {"kind": "access"})
    sandbox.control("DELETE", "log")
    sandbox.fault(EXCHANGE, "hang")
    failures: list[BaseException] = []

    def call() -> None:
        try:
            api_client.get(connected, "user")
        except api_client.NoAnswer as problem:
            failures.append(problem)
        finally:
            database.close()

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    wait_until(lambda: sandbox.exchanges() == 1)
    jump(by)
    for _ in range(3):
        jobs.sweep()
        Connection.objects.update(next_check_at=None)
        work()
    sandbox.clear_faults()
    for caller in callers:
        caller.join()

    record(
        "O9",
        f"a clock jumps {next(words for words, jumped in JUMPS.items() if jumped == by)} during an exchange",
        f"{sandbox.exchanges()} exchange, {len(callers) - len(failures)} of {len(callers)} calls answered",
    )
    assert (sandbox.exchanges(), failures) == (1, [])
    assert Connection.objects.get().state == State.CONNECTED

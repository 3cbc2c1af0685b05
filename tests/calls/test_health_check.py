"""When a connection is asked whether it works: at once after a sibling's connect, and not as often as one can press."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import Customer, User
from integrations.calls import health_check, verdicts
from integrations.models import Connection, ExchangeStatus, Notice, State, TokenPair
from integrations.models.connections import MOST_TESTS
from integrations.snapinspect.profile import Profile
from integrations.tokens import exchange_limit
from integrations.tokens.proof import Verdict
from tests.support.clients import OTHER, Sandbox, Visitor, audited, badge, quick_connect, work
from tests.support.troubled_connections import pass_time, state, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def connected(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    return quick_connect(acme, sandbox, by=alice)


def test_when_somebody_connects_a_company_its_other_connections_are_asked_at_once(
    sandbox: Sandbox, alice: User, acme: Customer, charlie: User, connected: Connection
) -> None:
    bystander = quick_connect(acme, sandbox, by=alice, account=OTHER)
    pass_time(timedelta(hours=7))
    work_until_idle()
    sandbox.control("POST", "revoke_all")  # as a vendor may do with older grants
    quick_connect(charlie.customers.get(), sandbox, by=charlie)
    work_until_idle()

    assert state(connected) == State.NEEDS_RECONNECT, "nobody has asked it"
    assert state(bystander) == State.CONNECTED, "another company is none of its business"


def test_pressing_test_all_day_calls_snapinspect_a_few_times_a_minute_and_says_so(
    sandbox: Sandbox, visit: Visit, alice: User, bob: User, acme: Customer, connected: Connection
) -> None:
    other = quick_connect(acme, sandbox, by=alice, account=OTHER)
    people = [visit(alice), visit(bob)]
    where = f"/c/{acme.code}/connections/{connected.code}/test/"
    sandbox.control("DELETE", "log")

    pages = [people[press % 2].post(where, follow=True) for press in range(MOST_TESTS + 4)]

    assert len(sandbox.calls("/user")) == audited("connection.tested") == MOST_TESTS
    assert {page.status_code for page in pages} == {200}
    told = ["several times within a minute" in page.content.decode() for page in pages]
    assert told == [False] * MOST_TESTS + [True] * 4
    assert "Pat" in pages[-1].content.decode(), "the latest answer is still there"
    assert (
        "several times within a minute"
        not in people[0].post(where.replace(connected.code, other.code), follow=True).text
    )

    pass_time(timedelta(minutes=1))
    assert "several times within a minute" not in people[0].post(where, follow=True).text


def test_a_daily_check_takes_five_statements(
    connected: Connection, django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    pass_time(timedelta(days=1))
    asked_at = timezone.now()
    with django_assert_num_queries(5):
        health_check.routine_check(connected.pk)

    before, after = connected, Connection.objects.get(pk=connected.pk)
    assert (after.state, after.failed_checks, after.notice) == (State.CONNECTED, 0, before.notice)
    assert after.proved_at is not None
    assert after.proved_at >= asked_at - timedelta(seconds=5)
    assert after.next_check_at is not None
    assert timedelta(hours=17) < after.next_check_at - after.proved_at <= timedelta(hours=24)


@pytest.mark.parametrize(
    "before",
    [
        {"state": State.TROUBLE, "error_kind": "timeout", "failed_checks": 3},
        {"error_kind": "timeout"},
        {"refused_at": Now()},
        {"exchange_pending_since": Now()},
        {"incident_since": Now(), "notice": Notice.BROKEN, "next_notice_at": Now() + timedelta(days=1)},
        {"failed_checks": 3},
    ],
    ids=lambda before: next(iter(before)),
)
def test_a_check_that_succeeds_ends_all_that_was_wrong(connected: Connection, before: dict[str, Any]) -> None:
    """However little most checks write."""
    Connection.objects.filter(pk=connected.pk).update(**before)
    ExchangeStatus.objects.update_or_create(pk=1, defaults={"limited_since": None})
    connected.check_soon()
    health_check.routine_check(connected.pk)

    connected.refresh_from_db()
    assert (connected.state, connected.error_kind, connected.failed_checks) == (State.CONNECTED, "", 0)
    assert (connected.refused_at, connected.exchange_pending_since) == (None, None)
    assert (connected.incident_since, connected.notice) == (None, "")
    assert audited("connection.connected") == ("state" in before)


def test_the_next_check_that_succeeds_ends_a_limit_on_exchanges_that_nobody_meets_any_more(
    connected: Connection,
) -> None:
    exchange_limit.tell_operator()
    assert exchange_limit.is_limiting()
    connected.check_soon()
    health_check.routine_check(connected.pk)
    assert not exchange_limit.is_limiting()


def test_a_check_notes_that_a_pair_works_which_was_never_used(connected: Connection) -> None:
    pairs = TokenPair.objects.filter(connection=connected)
    pairs.update(proved_at=None)
    connected.check_soon()
    health_check.routine_check(connected.pk)
    assert pairs.get().proved_at is not None


def test_a_disconnect_during_a_check_stays(connected: Connection) -> None:
    read_before = Connection.objects.get(pk=connected.pk)
    connected.move_to(State.DISCONNECTED, next_check_at=None)
    verdicts.record(read_before, Verdict(Profile(None, None, None, None, {"sName": "Pat"})))
    connected.refresh_from_db()
    assert (connected.state, connected.next_check_at) == (State.DISCONNECTED, None)


def test_presses_at_the_same_moment_are_counted_one_by_one(connected: Connection) -> None:
    def press(_: int) -> bool:
        try:
            return Connection.objects.get(pk=connected.pk).claim_test()
        finally:
            database.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(press, range(3 * MOST_TESTS))) == MOST_TESTS
    work()


def test_a_late_time_out_changes_nothing_that_was_found_out_since_its_call_began(connected: Connection) -> None:
    late = Verdict(error_kind="timeout", duration=timedelta(seconds=15))
    verdicts.record(connected, late)
    assert state(connected) == State.CONNECTED, "it was proved ten milliseconds ago"

    connected.move_to(State.NEEDS_RECONNECT, error_kind="refused", next_check_at=None)
    verdicts.record(connected, late)
    pass_time(timedelta(minutes=5))
    verdicts.record(connected, late)
    connected.refresh_from_db()
    assert (connected.state, connected.error_kind) == (State.NEEDS_RECONNECT, "refused")

    connected.move_to(State.CONNECTED)
    pass_time(timedelta(minutes=5))
    verdicts.record(connected, late)
    assert state(connected) == State.TROUBLE


def test_a_failure_does_not_overwrite_a_state_that_is_set_at_the_same_moment(
    connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_time(timedelta(minutes=5))
    outdated = verdicts._is_outdated

    def overtaken(connection: Connection, verdict: Verdict) -> bool:
        found = outdated(connection, verdict)
        Connection.objects.get(pk=connection.pk).move_to(State.NEEDS_RECONNECT, error_kind="refused")
        return found

    monkeypatch.setattr(verdicts, "_is_outdated", overtaken)
    verdicts.record(connected, Verdict(error_kind="timeout"))
    connected.refresh_from_db()
    assert (connected.state, connected.error_kind) == (State.NEEDS_RECONNECT, "refused")


def test_a_test_without_an_answer_is_left_to_a_worker_and_its_page_follows(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_check, "HURRY", 0.2)
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    sandbox.fault("/user", "hang", times=None)
    where = browser.post(f"/c/{acme.code}/connections/{connection.code}/test/")["Location"]
    assert "SnapInspect has not answered yet." in browser.get(where).text
    assert badge(connection) == "Connected", "that it is slow proves nothing"

    sandbox.clear_faults()
    work()
    assert "The connection works" in browser.get(where).text

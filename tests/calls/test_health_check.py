"""When a connection is asked whether it works: at once after a sibling's connect, and not as often as one can press."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.db import connection as database

from accounts.models import Customer, User
from integrations.calls import health_check, verdicts
from integrations.models import Connection, State
from integrations.models.connections import MOST_TESTS
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


def test_a_daily_check_takes_ten_statements(
    connected: Connection, django_assert_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    connected.check_soon()
    with django_assert_num_queries(10):
        health_check.routine_check(connected.pk)


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

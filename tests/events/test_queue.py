"""What a worker does with events: look-ups and their limits, outages, poison, fairness. Rows W5, W6 and W15."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db import connection as database
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import User
from integrations.background import jobs
from integrations.calls import api_client
from integrations.events import attempts, event_actions, handlers, leased_queue, queue, routing, verification
from integrations.events.handlers import Happening
from integrations.models import Connection, Event, EventQueue, LookupLimit, backoff
from tests.support import troubled_connections
from tests.support.clients import COMPANY_OF_OTHER, COMPANY_OF_PAT, OTHER, Sandbox, quick_connect, work
from tests.support.deliveries import (
    INSPECTION,
    INSPECTION_OF_OTHER,
    deliver,
    later,
    looks,
    only_event,
    payload,
    post,
    state_of,
    upload,
)
from tests.support.measurements import record
from tests.support.sizes import size

pytestmark = pytest.mark.django_db(transaction=True)
UNKNOWN_COMPANY = "701"


def test_W5_older_content_that_arrives_last_does_not_win(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    inspection = upload(sandbox)
    deliver(payload("Update_Inspection_Status", inspection, sStatus="B"))
    newest = only_event()
    older = newest.content.replace('"dtUpdated":"20', '"dtUpdated":"19').replace("Uploaded", "Outdated")
    sandbox.fault(f"/inspections/{inspection}", "status", status=200, body=older)
    deliver(payload("Update_Inspection_Status", inspection, sStatus="A"))

    last = Event.objects.latest("pk")
    record(
        "W5",
        "older content arrives last",
        "the newer is kept" if last.content == newest.content else "the older has won",
    )
    assert last.state == Event.State.DONE
    assert last.content == newest.content
    assert handled[-1].content == handled[0].content


def test_W6_forged_ids_change_nothing_and_cost_a_trickle(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    forged = size(70, 10_000)
    for number in range(forged):
        post(payload(inspection=9_000_000 + number))
    work()
    assert looks(sandbox) == verification.MOST_IN_A_WINDOW
    # The windows that the rest of a minute holds, and the one that it may share with the minute before.
    for _ in range(round(timedelta(minutes=1) / verification.WINDOW)):
        LookupLimit.objects.update(window_began_at=F("window_began_at") - verification.WINDOW)
        later(seconds=verification.WINDOW.total_seconds())

    minute, data = looks(sandbox), Event.objects.with_content().count() + len(handled)
    record("W6", "guessed IDs with the right secret", f"{data} data changed by {forged}, {minute} look-ups in a minute")
    assert verification.MOST_IN_A_WINDOW < minute <= 60
    assert data == 0
    assert not Event.objects.filter(state=Event.State.FAILED).exists(), "waiting costs no attempt"


def test_W6_real_inspections_do_not_count_against_the_limit(sandbox: Sandbox, connection: Connection) -> None:
    for number in range(25):
        post(payload(f"Type_{number}"))
    work()
    assert Event.objects.filter(state=Event.State.DONE).count() == 25


def test_W6_look_ups_under_way_do_not_count_against_the_limit(
    sandbox: Sandbox, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = api_client.get(connection, f"inspections/{INSPECTION}")
    under_way = verification.MOST_IN_A_WINDOW + 2
    found: list[str] = []

    def get_while_others_are_under_way(*_: Any) -> Any:
        if len(found) + 1 < under_way:
            found.append(INSPECTION)
            verification.Lookups(connection, renew_lease=lambda: None).look_up(INSPECTION)
        return answer

    monkeypatch.setattr(api_client, "get", get_while_others_are_under_way)
    assert verification.Lookups(connection, renew_lease=lambda: None).look_up(INSPECTION).status == 200
    assert len(found) + 1 == under_way


def test_W6_an_inspection_of_another_company_is_not_shown(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    deliver(payload(inspection=INSPECTION_OF_OTHER))

    event = only_event()
    assert (event.state, event.last_error_kind, event.proof) == ("retrying", "not_found", "unverified")
    strangers = [call for call in sandbox.calls("/inspections") if call["company"] != int(COMPANY_OF_PAT)]
    record(
        "W6", "an ID of another company's", f"{len(strangers)} look-ups with another customer's token, nothing shown"
    )
    assert {call["company"] for call in sandbox.calls("/inspections")} == {int(COMPANY_OF_PAT)}
    for _ in range(3):
        later(minutes=5)
    assert state_of(event) == Event.State.FAILED
    assert not handled


def test_while_the_api_is_down_no_attempt_is_used_up_and_it_is_not_asked_for_every_event(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    sandbox.fault("/inspections*", "status", times=None, status=503)
    deliver(*(payload(f"Type_{number}") for number in range(20)))
    before = looks(sandbox)
    work()
    assert looks(sandbox) == before, "the queue did not pause"
    for _ in range(10):
        later(minutes=10)

    assert set(Event.objects.values_list("attempts", flat=True)) == {0}
    assert Event.objects.filter(next_attempt_at__gt=Now()).exists()
    sandbox.clear_faults()
    later(minutes=10)
    assert Event.objects.filter(state=Event.State.DONE).count() == len(handled) == 20


def test_an_event_that_fails_alone_is_not_taken_for_an_outage(sandbox: Sandbox, connection: Connection) -> None:
    sandbox.fault(f"/inspections/{INSPECTION}", "status", times=None, status=500)
    deliver(payload())
    for number in range(9):
        deliver(payload(f"Type_{number}", inspection="1388562"))
        later(hours=3)

    poison, *fine = Event.objects.order_by("pk")
    assert (poison.state, poison.attempts) == ("failed", Event.MOST_ATTEMPTS)
    assert {event.state for event in fine} == {"done"}


def test_W15_a_poisonous_event_is_tried_eight_times_and_shown_and_the_others_go_on(
    sandbox: Sandbox, connection: Connection, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[str] = []

    @handlers.on("*")
    def picky(happening: Happening) -> None:
        if happening.type == "Poison":
            raise ValueError
        handled.append(happening.type)

    others = size(30, 999)
    for type_ in ("Poison", *(f"Type_{number}" for number in range(others))):
        post(payload(type_))
    troubled_connections.work_until_idle()
    poison = Event.objects.get(type="Poison")
    assert (poison.state, len(handled)) == ("retrying", others)
    for _ in range(9):
        later(hours=3)

    poison.refresh_from_db()
    record("W15", "one event always fails", f"{poison.attempts} attempts; the other {len(handled)} of {others} at once")
    assert (poison.state, poison.attempts, poison.last_error_kind) == ("failed", 8, "handler_failed")
    assert [a.handler.rpartition(".")[2] for a in poison.timeline.all()] == ["picky"] * 8

    monkeypatch.setattr(handlers, "registry", {})
    assert event_actions.replay(poison, by=alice)
    work()
    assert state_of(poison) == Event.State.DONE
    assert backoff.wait_after_attempt(7) > backoff.wait_after_attempt(1) * 10


def test_a_killed_worker_s_lane_is_taken_up_when_its_lease_has_run_out_and_a_late_one_writes_nothing(
    connection: Connection, handled: list[Happening]
) -> None:
    post(payload())
    routing.route_batch()
    with queue.claimed(connection.pk, due_at=None) as frozen:
        assert frozen is not None
        Event.objects.update(state=Event.State.PROCESSING)
        work()
        assert not handled, "the lease was not respected"

        EventQueue.objects.update(lease_until=Now() - timedelta(seconds=1))
        jobs.sweep()
        work()
        assert (only_event().state, only_event().attempts, len(handled)) == ("done", 1, 1)
        with pytest.raises(leased_queue.LostLease):
            frozen.process()
            frozen.release()


def test_an_event_ignored_while_in_a_batch_runs_no_handler(connection: Connection, alice: User) -> None:
    heard: list[str] = []

    @handlers.on("*")
    def ignore_the_others(happening: Happening) -> None:
        heard.append(happening.type)
        for event in Event.objects.open().exclude(type=happening.type):
            assert event_actions.ignore(event, by=alice)

    for body in (payload("One"), payload("Two", inspection="1388562")):
        post(body)
    work()

    assert heard == ["One"]
    assert list(Event.objects.order_by("pk").values_list("type", "state")) == [("One", "done"), ("Two", "ignored")]
    assert not Event.objects.get(type="Two").handler_runs.exists()


def test_an_event_with_nothing_to_be_done_is_updated_once_and_ignored_meanwhile_stays_so(
    connection: Connection, settings: Settings, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SNAPINSPECT_INSPECTION_PATH = ""
    for number in range(100):
        post(payload(inspection=2_000_000 + number))
    statements: list[str] = []
    updated = 0

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal updated
        statements.append(sql)
        result = execute(sql, params, many, context)
        if sql.startswith('UPDATE "integrations_event" '):
            updated += context["cursor"].rowcount
        return result

    with database.execute_wrapper(count):
        work()
    print(f"{database.vendor}: {len(statements)} statements for 100 events, {updated} updates of their rows")
    assert updated == 100
    assert Event.objects.filter(state="done", attempts=1, proof="not_checked").exclude(timeline=None).count() == 100

    def ignored_meanwhile(*_: object) -> bool:
        return event_actions.ignore(Event.objects.get(type="Ignored"), by=alice)

    monkeypatch.setattr(attempts, "needs_nothing", ignored_meanwhile)
    deliver(payload("Ignored"))
    assert Event.objects.get(type="Ignored").state == Event.State.IGNORED


def test_an_ignored_event_is_left_alone(sandbox: Sandbox, connection: Connection, alice: User) -> None:
    sandbox.fault("/inspections*", "status", times=None, status=503)
    deliver(payload())
    assert event_actions.ignore(only_event(), by=alice)
    sandbox.clear_faults()
    later(hours=1)

    assert only_event().state == Event.State.IGNORED
    assert not event_actions.ignore(only_event(), by=alice)


@pytest.mark.slow
def test_one_customer_s_flood_delays_another_s_event_by_one_shift(
    sandbox: Sandbox, connection: Connection, charlie: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_connect(charlie.memberships.get().customer, sandbox, by=charlie, account=OTHER)
    monkeypatch.setattr(leased_queue, "TIME_SLICE", 0.05)
    order: list[str] = []
    handlers.on("*")(lambda happening: order.append(happening.company_id))
    for number in range(60):
        post(payload(f"Type_{number}"))
    post(payload("Real", INSPECTION_OF_OTHER, iCompanyID=int(COMPANY_OF_OTHER)))
    while len(order) < 61:
        before = len(order)
        work()
        assert len(order) > before, "the work has stopped"

    print(f"fairness: the other customer's event came as number {order.index(COMPANY_OF_OTHER) + 1} of {len(order)}")
    assert order.index(COMPANY_OF_OTHER) < 30


def test_a_worker_that_is_told_to_stop_finishes_what_it_works_on_and_leaves_the_rest_to_others(
    connection: Connection, sandbox: Sandbox, charlie: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_connect(charlie.customers.get(), sandbox, by=charlie, account=OTHER)
    stop = threading.Event()
    monkeypatch.setattr(jobs, "stop_requested", stop)
    handlers.on("*")(lambda _: stop.set())
    post(payload())
    post(payload(inspection=INSPECTION_OF_OTHER, iCompanyID=int(COMPANY_OF_OTHER)))
    work()
    assert sorted(Event.objects.values_list("state", flat=True)) == ["done", "received"]
    stop.clear()
    work()
    assert set(Event.objects.values_list("state", flat=True)) == {"done"}


def test_O1_what_a_worker_held_when_its_database_went_away_is_given_back_by_its_next_sweep(
    connection: Connection, handled: list[Happening]
) -> None:
    def gone_once_the_handler_has_run(execute: Any, *arguments: Any) -> Any:
        if handled:
            raise OperationalError("the connection is closed")
        return execute(*arguments)

    assert post(payload()).status_code == 200
    with database.execute_wrapper(gone_once_the_handler_has_run), pytest.raises(OperationalError):
        jobs.work_off(jobs.INBOX)
    held = EventQueue.objects.exclude(lease_owner="").count()
    handled.clear()

    jobs.sweep()

    event = only_event()
    assert (held, EventQueue.objects.exclude(lease_owner="").count()) == (1, 0)
    assert (event.state, event.attempts) == (Event.State.RECEIVED, 0), "nothing says that this event kills workers"
    jobs.work_off(jobs.INBOX)
    assert state_of(event) == Event.State.DONE


def test_O1_so_is_a_lease_that_was_taken_when_the_database_went_away_before_it_said_so(connection: Connection) -> None:
    claims: list[str] = []

    def gone_once_it_is_claimed(execute: Any, sql: str, *arguments: Any) -> Any:
        if claims:
            raise OperationalError("the connection is closed")
        result = execute(sql, *arguments)
        if sql.startswith("UPDATE") and "lease_owner" in sql:
            claims.append(sql)
            raise OperationalError("the connection is closed")
        return result

    assert post(payload()).status_code == 200
    routing.route_batch()
    with database.execute_wrapper(gone_once_it_is_claimed), pytest.raises(OperationalError):
        queue.process(connection.pk)
    held = EventQueue.objects.exclude(lease_owner="").count()

    jobs.sweep()

    assert (held, EventQueue.objects.exclude(lease_owner="").count()) == (1, 0)
    work()
    assert state_of(only_event()) == Event.State.DONE


def test_O1_a_queue_whose_connection_is_gone_is_nobody_s_to_give_back(connection: Connection) -> None:
    with pytest.raises(OperationalError), queue.claimed(connection.pk):
        raise OperationalError("the connection is closed")
    connection.delete()
    jobs.sweep()

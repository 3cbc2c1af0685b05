"""After a long outage: rows W11 and A10 of the score card."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, User
from integrations.background import jobs
from integrations.calls import api_client
from integrations.events import handlers, recovery, routing
from integrations.events.handlers import Happening
from integrations.models import Connection, Event, EventQueue, NamedLock
from integrations.sandbox.webhooks import RETRIES_AFTER
from tests.support.clients import Sandbox, Visitor, work
from tests.support.deliveries import INSPECTION, change_status, deliver, later, payload, post, upload
from tests.support.measurements import record
from tests.support.sizes import size

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("handled")]
Visit = Callable[[User], Visitor]
AGO = "2020-01-01T00:00:00"


@pytest.fixture
def connection(connection: Connection) -> Connection:
    EventQueue.objects.wake([connection.pk])
    return connection


def recover(*options: str) -> str:
    out = StringIO()
    call_command("recover", "--since", AGO, *options, stdout=out)
    work()
    return out.getvalue()


def test_W11_what_was_never_announced_is_recovered_once_and_marked(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    announced = [upload(sandbox) for _ in range(3)]
    missed = [upload(sandbox) for _ in range(30)]
    deliver(*(payload(inspection=inspection) for inspection in announced))

    assert "35 listed" in recover("--dry-run")
    assert Event.objects.count() == 3
    said = recover()
    recover()

    recovered = Event.objects.filter(recovered=True)
    record(
        "W11", "inspections that were never announced", f"{recovered.count()} of 32 recovered, {len(handled)} effects"
    )
    assert "35 listed" in said
    # Two inspections of this company were there before anybody connected.
    assert set(recovered.values_list("inspection_id", flat=True)) == {*missed, INSPECTION, "1388562"}
    assert set(recovered.values_list("state", "proof", "type")) == {("done", "verified", "Create_Inspection")}
    assert len(handled) == Event.objects.count() == 35
    assert sum(happening.recovered for happening in handled) == 32


def test_a_change_that_was_missed_is_recovered_and_one_that_was_announced_is_not(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    known, changed = upload(sandbox), upload(sandbox)
    deliver(payload(inspection=known), payload(inspection=changed))
    change_status(sandbox, changed, "Approved")

    recover()

    again = Event.objects.get(recovered=True, inspection_id=changed)
    assert (again.type, again.state) == (recovery.CHANGED, "done")
    assert "Approved" in again.content
    assert Event.objects.filter(inspection_id=known).count() == 1
    assert not Event.objects.exclude(repeat_of=None).exists()


def test_a_change_that_was_missed_while_an_event_is_retried_is_recovered(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    @handlers.on("*")
    def broken(happening: Happening) -> None:
        raise ValueError

    changed = upload(sandbox)
    deliver(payload(inspection=changed))
    assert Event.objects.get().state == Event.State.RETRYING
    change_status(sandbox, changed, "Approved")

    recover()

    assert any("Approved" in str(happening.content) for happening in handled if happening.inspection_id == changed)


def test_a_late_delivery_of_what_was_recovered_joins_it_and_only_its_own_handlers_hear_of_it(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    statuses: list[str] = []
    handlers.on("Update_Inspection_Status")(lambda happening: statuses.append(happening.inspection_id))
    inspection = upload(sandbox)
    deliver(payload(inspection=inspection))
    change_status(sandbox, inspection, "Approved")
    recover()
    before = len(handled)

    late = payload("Update_Inspection_Status", inspection, sStatus="Approved")
    deliver(late, late)
    later(seconds=5)

    assert Event.objects.filter(inspection_id=inspection).count() == 2
    assert Event.objects.get(inspection_id=inspection, recovered=True).type == "Update_Inspection_Status"
    assert (len(handled) - before, statuses) == (0, [inspection])


def test_A10_pages_that_go_in_a_circle_end_and_are_flagged(sandbox: Sandbox, connection: Connection) -> None:
    for page in (2, 1) * 10:
        sandbox.fault("/inspections", change={"next": f"{sandbox.url}inspections?page={page}"})
    for _ in range(25):
        upload(sandbox)
    sandbox.control("DELETE", "log")

    said = recover()

    pages = [call for call in sandbox.calls("/inspections") if call["path"] == "/inspections"]
    record("A10", "pages whose next links go in a circle", f"stopped after {len(pages)} pages, and flagged")
    assert "circle" in said
    assert len(pages) <= 4
    assert "circle" in AuditEntry.objects.get(kind="recovery.done").detail["flag"]


def test_A10_pages_without_end_stop_at_a_cap(
    sandbox: Sandbox, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "MOST_PAGES", 2)
    for _ in range(45):
        upload(sandbox)
    said = recover()
    pages = [call for call in sandbox.calls("/inspections") if call["path"] == "/inspections"]
    record("A10", "pages without an end", f"stopped after {len(pages)} pages, the cap, and flagged")
    assert "more than 2 pages" in said
    assert len(pages) == 2


def test_a_next_page_on_another_host_is_not_asked_for(
    sandbox: Sandbox, connection: Connection, sandbox_server: Sandbox
) -> None:
    page = '{"inspections": [{"iInspectionID": 1388561}], "next": "https://evil.example/inspections?page=2"}'
    sandbox.fault("/inspections", "status", times=None, status=200, body=page)
    assert "leads elsewhere" in recover()
    assert Event.objects.get().inspection_id == INSPECTION


def test_without_a_path_the_command_says_what_it_cannot_do(connection: Connection, settings: Settings) -> None:
    settings.SNAPINSPECT_CHANGES_PATH = ""
    said = recover()
    assert "SNAPINSPECT_CHANGES_PATH is not set" in said
    assert "cannot be recovered" in said
    EventQueue.objects.update(gap_since=Now())
    jobs.sweep()
    work()
    assert EventQueue.objects.with_gap().count() == 1, "the gap stays noted"


def test_a_moment_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(CommandError, match="not a date"):
        call_command("recover", "--since", "yesterday")


@pytest.mark.parametrize("first", ["together", "the delivery"])
def test_a_delivery_and_what_recovery_made_of_it_have_one_effect_whichever_is_looked_up_first(
    first: str, sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    inspection = upload(sandbox)
    assert post(payload(inspection=inspection)).status_code == 200
    recovery.recover(connection, since=timezone.now() - timedelta(days=9))  # the delivery is not placed yet
    routing.route_batch()
    ours = Event.objects.filter(inspection_id=inspection)
    if first == "together":
        ours.update(next_attempt_at=Now())
    else:
        ours.filter(recovered=True).update(next_attempt_at=Now() + timedelta(seconds=30))
        ours.filter(recovered=False).update(next_attempt_at=Now())
    assert ours.count() == 2

    work()
    later(minutes=1)

    assert ours.count() == 1
    assert [happening.inspection_id for happening in handled].count(inspection) == 1


@pytest.mark.parametrize("minutes", [100, 180])
@pytest.mark.slow
def test_W11_after_our_own_outage_the_retries_and_the_sweep_find_everything_once(
    minutes: int, sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    """Nothing of ours runs. SnapInspect tries each message five times; those whose last try has gone by are lost."""
    outage = timedelta(minutes=minutes)
    jobs.sweep()
    assert not EventQueue.objects.with_gap().exists()
    uploads = size(20, 300)
    began = [outage * number / uploads for number in range(uploads)]
    missed = {upload(sandbox): moment for moment in began}
    NamedLock.objects.filter(name="sweep").update(taken_at=Now() - outage)

    # The first sweep after our return, and what comes by itself within a quarter of an hour, minute by minute.
    tries = {
        inspection: [at + timedelta(seconds=after) for after in RETRIES_AFTER] for inspection, at in missed.items()
    }
    found_after = 0
    for minute in range(1, 16):
        now = outage + timedelta(minutes=minute)
        for inspection, moments in tries.items():
            if any(now - timedelta(minutes=1) <= moment < now for moment in moments):
                assert post(payload(inspection=inspection)).status_code == 200
        jobs.sweep()
        work()
        later(minutes=1)
        if not found_after and {happening.inspection_id for happening in handled} >= missed.keys():
            found_after = minute
    dropped = sum(max(moments) < outage for moments in tries.values())
    # Whatever is still to be tried joins what has been found.
    for inspection in missed:
        assert post(payload(inspection=inspection)).status_code == 200
    later(seconds=5)

    effects = Counter(happening.inspection_id for happening in handled)
    record(
        "W11",
        f"an outage of ours of {minutes} minutes",
        f"{uploads} uploads, {dropped} of them dropped by SnapInspect; {len(effects.keys() & missed.keys())} found "
        f"after {found_after} min, at most {max(effects.values())} effect each",
    )
    assert found_after
    assert (dropped > 0) == (minutes > 105)
    assert effects.keys() >= missed.keys()
    assert set(effects.values()) == {1}
    assert not EventQueue.objects.with_gap().exists()
    assert timezone.now() - NamedLock.objects.get(name="sweep").taken_at < timedelta(minutes=2)


def test_while_the_api_is_down_a_gap_stays_and_is_closed_later(sandbox: Sandbox, connection: Connection) -> None:
    EventQueue.objects.update(gap_since=Now() - timedelta(hours=3))
    sandbox.fault("/inspections", "status", times=None, status=503)
    work()
    work()
    assert EventQueue.objects.with_gap().count() == 1
    sandbox.clear_faults()

    EventQueue.objects.update(gap_retry_at=Now())
    work()
    later(minutes=1)

    assert not EventQueue.objects.with_gap().exists()


@pytest.mark.parametrize("fault", [{"kind": "cut"}, {"kind": "status", "status": 522}], ids=str)
def test_a_next_page_that_does_not_come_leaves_the_gap(
    fault: dict[str, Any], sandbox: Sandbox, connection: Connection
) -> None:
    EventQueue.objects.update(gap_since=Now() - timedelta(hours=3))
    sandbox.fault("/inspections", "raw", times=1, body={"next": "/inspections?page=2", "data": []})
    sandbox.fault("/inspections", times=None, **fault)
    work()

    assert EventQueue.objects.with_gap().exists()


def test_a_gap_that_was_noted_while_another_was_closed_stays(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, earlier = api_client.get, timezone.now() - timedelta(hours=9)

    def note_and_read(*given: Any) -> Any:
        EventQueue.objects.update(gap_since=earlier)
        return read(*given)

    EventQueue.objects.update(gap_since=Now() - timedelta(hours=3))
    monkeypatch.setattr(api_client, "get", note_and_read)
    recovery.close_gap(connection.pk)

    assert EventQueue.objects.get().gap_since == earlier


def test_a_list_that_fails_delays_no_event_and_is_asked_for_with_growing_pauses(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    def lists() -> int:
        return sum(call["path"] == "/inspections" for call in sandbox.calls("/inspections"))

    EventQueue.objects.update(gap_since=Now() - timedelta(hours=3))
    sandbox.fault("/inspections", "status", times=None, status=400)
    work()
    work()
    assert lists() == 1, "the next try did not wait"
    for number in range(5):
        deliver(payload(f"Type_{number}"))
    assert len(handled) == 5

    waits = []
    for _ in range(3):
        EventQueue.objects.update(gap_retry_at=Now())
        work()
        waits.append((EventQueue.objects.get().gap_retry_at or timezone.now()) - timezone.now())
    assert waits == sorted(waits) and waits[0] < waits[-1] / 2
    assert lists() == 4
    assert EventQueue.objects.with_gap().count() == 1


@pytest.mark.parametrize("body", ["{}", "null", '{"status": "ok"}', "7"])
def test_an_answer_without_a_list_leaves_the_gap_open(body: str, sandbox: Sandbox, connection: Connection) -> None:
    EventQueue.objects.update(gap_since=Now() - timedelta(hours=3))
    missed = upload(sandbox)
    sandbox.fault("/inspections", "status", times=1, status=200, body=body)
    work()
    assert EventQueue.objects.with_gap().exists()

    EventQueue.objects.update(gap_retry_at=Now())
    work()
    assert not EventQueue.objects.with_gap().exists()
    assert Event.objects.get(inspection_id=missed).recovered


@pytest.mark.parametrize("link", ["../inspections?page=2", "//evil.example/2", "?a b", "a b", "inspections/none"])
def test_an_odd_next_link_ends_the_list_with_a_flag(link: str, sandbox: Sandbox, connection: Connection) -> None:
    EventQueue.objects.update(gap_since=Now() - timedelta(hours=3))
    page = json.dumps({"inspections": [{"iInspectionID": int(INSPECTION)}], "next": link})
    sandbox.fault("/inspections", "status", times=None, status=200, body=page)
    for _ in range(3):
        work()

    assert sum(call["path"] == "/inspections" for call in sandbox.calls("/inspections")) == 1
    assert not EventQueue.objects.with_gap().exists()
    assert "next page" in AuditEntry.objects.get(kind="recovery.done").detail["flag"]
    assert Event.objects.get().inspection_id == INSPECTION


def test_what_was_missed_while_no_web_process_ran_is_recovered_when_one_runs_again(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    recovery.note_outage(recovery.WEB)
    assert not EventQueue.objects.with_gap().exists()
    missed = upload(sandbox)
    NamedLock.objects.filter(name=recovery.WEB).update(taken_at=Now() - timedelta(hours=3))
    jobs.sweep()
    assert not EventQueue.objects.with_gap().exists(), "the list would end before the outage does"

    recovery.note_outage(recovery.WEB)
    work()

    assert missed in {happening.inspection_id for happening in handled}
    recovery.note_outage(recovery.WEB)
    assert not EventQueue.objects.with_gap().exists()


def test_an_outage_of_snapinspect_s_leaves_a_gap_that_is_closed_when_it_answers_again(
    sandbox: Sandbox, connection: Connection
) -> None:
    deliver(payload())
    sandbox.fault("/inspections*", "status", times=None, status=503)
    deliver(payload("Review_Signed"))
    EventQueue.objects.update(fine_at=Now() - timedelta(hours=1))
    missed = upload(sandbox)
    sandbox.clear_faults()

    later(minutes=5)
    work()
    work()

    assert Event.objects.get(inspection_id=missed).recovered

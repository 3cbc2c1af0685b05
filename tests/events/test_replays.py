"""Row 21 of the check-list: many events are replayed at once, with a count first, progress, an end, and Cancel."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, User
from integrations.events import handlers, replays
from integrations.events.selection import Selection
from integrations.models import Connection, Event, EventQueue, Replay, State
from tests.support.clients import Visitor, audited, work
from tests.support.many_events import LAST, make_events

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
FAILED = Selection(state=Event.State.FAILED)


@pytest.fixture(autouse=True)
def nothing_is_looked_up(settings: Settings) -> None:
    settings.SNAPINSPECT_INSPECTION_PATH = ""


@pytest.fixture
def connection(acme: Customer) -> Connection:
    return Connection.objects.create(customer=acme, state=State.CONNECTED, company_id="6847")


@pytest.fixture
def handled() -> list[str]:
    """The inspections that a handler of all types was called with, in order."""
    inspections: list[str] = []
    handlers.on("*")(lambda happening: inspections.append(happening.inspection_id))
    return inspections


def failed(connection: Connection, count: int) -> list[Event]:
    return make_events(connection, count, state=Event.State.FAILED, attempts=8, last_error_kind="handler_failed")


def work_off() -> None:
    for _ in range(100):
        work()
        if not Replay.objects.running().exists():
            return
    raise AssertionError("the replay does not come to an end")


def test_the_page_counts_first_and_starts_nothing(
    visit: Visit, bob: User, acme: Customer, connection: Connection
) -> None:
    failed(connection, 143)
    make_events(connection, 5)
    browser = visit(bob)

    listed = browser.get(f"/c/{acme.code}/events/?state=failed").text
    assert f'href="/c/{acme.code}/events/replay/?state=failed"' in listed
    page = " ".join(browser.get(f"/c/{acme.code}/events/replay/?state=failed").text.split())
    assert "143 failed events match. Replay?" in page
    assert not Replay.objects.exists()


def test_all_of_them_are_processed_again_once_the_oldest_first(
    visit: Visit, bob: User, acme: Customer, connection: Connection, handled: list[str]
) -> None:
    events = failed(connection, 450)
    make_events(connection, 3, inspection_id="7")
    browser = visit(bob)

    page = browser.post(f"/c/{acme.code}/events/replay/?state=failed", follow=True)
    assert "0 of 450" in " ".join(page.text.split())
    where = page.redirect_chain[-1][0]
    work_off()

    assert handled == [event.inspection_id for event in events]
    assert set(Event.objects.values_list("state", flat=True)) == {Event.State.DONE}
    assert "450 events replayed." in " ".join(browser.get(where).text.split())
    entry = AuditEntry.objects.get(kind="replay.started")
    assert (entry.actor, entry.detail) == (bob, {"state": "failed", "matched": 450})
    assert AuditEntry.objects.get(kind="replay.finished").detail == {"replayed": 450, "skipped": 0}


def test_events_that_were_done_are_done_once_more_and_not_for_ever(
    alice: User, acme: Customer, connection: Connection, handled: list[str]
) -> None:
    make_events(connection, 250)
    assert replays.start(acme, Selection(), by=alice)
    work()
    make_events(connection, 1, received_at=LAST + timedelta(days=1), inspection_id="later")
    make_events(connection, 1, received_at=LAST - timedelta(hours=1), inspection_id="late")
    work_off()

    assert len(handled) == len(set(handled)) == 250
    assert set(Event.objects.exclude(inspection_id__startswith="late").values_list("replays", flat=True)) == {1}


def test_what_is_being_worked_on_is_skipped_and_said_to_be(
    visit: Visit, alice: User, acme: Customer, connection: Connection, handled: list[str]
) -> None:
    make_events(connection, 3)
    busy = make_events(connection, 2, state=Event.State.RETRYING)
    Event.objects.filter(pk__in=[event.pk for event in busy]).update(next_attempt_at=Now() + timedelta(hours=1))
    replay = replays.start(acme, Selection(), by=alice)
    assert replay
    work_off()

    page = " ".join(visit(alice).get(f"/c/{acme.code}/replays/{replay.code}/").text.split())
    assert "3 events replayed, 2 skipped because they were already being processed." in page
    assert len(handled) == 3


def test_ignored_events_and_those_of_a_disconnected_connection_rest_unless_they_are_meant(
    alice: User, acme: Customer, connection: Connection
) -> None:
    gone = Connection.objects.create(customer=acme, state=State.DISCONNECTED, company_id="1")
    make_events(gone, 2, state=Event.State.FAILED)
    make_events(connection, 3, state=Event.State.IGNORED)
    failed(connection, 1)

    assert replays.count(acme, Selection()) == 1
    assert replays.count(acme, Selection(state=Event.State.IGNORED)) == 3


def test_one_replay_at_a_time_for_a_customer_and_each_customer_has_its_own(
    visit: Visit, alice: User, charlie: User, acme: Customer, connection: Connection
) -> None:
    failed(connection, 2)
    first = replays.start(acme, FAILED, by=alice)
    assert first
    assert replays.start(acme, FAILED, by=alice) is None
    with pytest.raises(IntegrityError):
        Replay.objects.create(customer=acme, matched=1, last_event=1)

    again = visit(alice).post(f"/c/{acme.code}/events/replay/?state=failed", follow=True)
    assert again.redirect_chain[-1][0] == f"/c/{acme.code}/replays/{first.code}/"
    assert "already running" in again.text
    assert replays.start(charlie.customers.get(), FAILED, by=charlie)


def test_cancel_ends_it_where_it_stands(
    visit: Visit, bob: User, victor: User, acme: Customer, connection: Connection, handled: list[str]
) -> None:
    failed(connection, 500)
    replay = replays.start(acme, FAILED, by=bob)
    assert replay and replays.step(replay.pk)
    where = f"/c/{acme.code}/replays/{replay.code}/"

    assert visit(victor).post(f"{where}cancel/").status_code == 403
    assert "Cancel" not in visit(victor).get(where).text.partition("</header>")[2]
    page = " ".join(visit(bob).post(f"{where}cancel/", follow=True).text.split())
    assert "Cancelled by bob@example.com. 200 events replayed." in page
    work()
    assert (len(handled), Event.objects.filter(state=Event.State.FAILED).count()) == (200, 300)
    assert (audited("replay.cancelled"), audited("replay.finished")) == (1, 0)
    assert "already finished" in visit(bob).post(f"{where}cancel/", follow=True).text


def test_while_many_events_wait_no_more_are_added(alice: User, acme: Customer, connection: Connection) -> None:
    """SnapInspect does not answer: what waits for it would only grow, and new events would come last."""
    failed(connection, 1000)
    replay = replays.start(acme, FAILED, by=alice)
    assert replay
    while replays.step(replay.pk):
        pass

    assert Event.objects.open().count() == replays.MOST_WAITING
    EventQueue.objects.update(paused_until=None, due_at=Now())
    work_off()
    assert Event.objects.filter(state=Event.State.DONE).count() == 1000


def test_a_step_that_dies_half_way_leaves_nothing_behind_and_is_done_again(
    alice: User, acme: Customer, connection: Connection, monkeypatch: pytest.MonkeyPatch, handled: list[str]
) -> None:
    failed(connection, 300)
    replay = replays.start(acme, FAILED, by=alice)
    assert replay

    def dies(*_: object) -> int:
        Event.objects.update(state=Event.State.RECEIVED)
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr("integrations.events.event_actions.reset", dies)
        with pytest.raises(SystemExit):
            replays.step(replay.pk)
    replay.refresh_from_db()
    assert (replay.steps, replay.seen, Event.objects.open().count()) == (0, 0, 0)
    work_off()
    assert len(handled) == len(set(handled)) == 300


def test_two_workers_do_not_take_the_same_step(
    alice: User, acme: Customer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(connection, 450)
    replay = replays.start(acme, FAILED, by=alice)
    assert replay
    waits = replays._enough_waiting

    def another_is_quicker(*given: object) -> bool:
        monkeypatch.setattr(replays, "_enough_waiting", waits)
        assert replays.step(replay.pk)
        return False

    monkeypatch.setattr(replays, "_enough_waiting", another_is_quicker)
    assert not replays.step(replay.pk)
    replay.refresh_from_db()
    assert (replay.steps, replay.replayed) == (1, 200)


def test_the_open_page_asks_for_itself_until_it_is_over(
    visit: Visit, victor: User, acme: Customer, connection: Connection, alice: User
) -> None:
    failed(connection, 2)
    replay = replays.start(acme, FAILED, by=alice)
    assert replay
    where = f"/c/{acme.code}/replays/{replay.code}/"

    part = visit(victor).get(where, headers={"HX-Request": "true"}).text
    assert re.search(r"<progress[^>]+max=\"2\"\s+value=\"0\"", part)
    assert f'data-live hx-get="{where}"' in part and "<html" not in part
    work_off()
    assert "data-live" not in visit(victor).get(where, headers={"HX-Request": "true"}).text


def test_nothing_to_replay_offers_nothing(visit: Visit, alice: User, acme: Customer, connection: Connection) -> None:
    page = visit(alice).get(f"/c/{acme.code}/events/replay/?state=failed").text
    assert "No events match." in " ".join(page.split())
    assert "Replay</button>" not in " ".join(page.split()).replace(" </button>", "</button>")
    wrong = visit(alice).post(f"/c/{acme.code}/events/replay/?state=nothing")
    assert (wrong.status_code, Replay.objects.count()) == (200, 0)


def test_what_matches_and_cannot_be_replayed_is_told_with_the_reason(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    failed(connection, 2)
    connection.move_to(State.DISCONNECTED)
    page = " ".join(visit(alice).get(f"/c/{acme.code}/events/replay/?state=failed").text.split())
    assert "None of the matching events can be replayed." in page
    assert "2 events match, but they belong to a disconnected connection or were ignored." in page
    assert "Replay?" not in page


def test_very_many_are_not_counted_to_the_end(
    visit: Visit, alice: User, acme: Customer, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(connection, 5)
    monkeypatch.setattr(replays, "MOST_COUNTED", 3)

    page = " ".join(visit(alice).get(f"/c/{acme.code}/events/replay/").text.split())
    assert "More than 3 events match. Replay?" in page
    replay = replays.start(acme, FAILED, by=alice)
    assert replay
    assert "of more than 3 events" in " ".join(visit(alice).get(f"/c/{acme.code}/replays/{replay.code}/").text.split())

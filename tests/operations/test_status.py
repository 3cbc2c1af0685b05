"""The operations page: what it tells staff, whom it tells nothing, and what it costs."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.models import (
    Attempt,
    Connection,
    Delivery,
    Event,
    EventQueue,
    ExchangeStatus,
    Notice,
    State,
    TokenPair,
    WebhookEndpoint,
    Worker,
)
from integrations.operations import status
from tests.pages.test_admin_pages import make_rows
from tests.pages.test_event import announce, upload
from tests.support.clients import Sandbox, Visitor, quick_connect
from tests.support.many_events import make_events

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
PAGE, JSON = "/staff/operations/", "/staff/operations.json"


@pytest.fixture
def staff(visit: Visit) -> Visitor:
    return visit(User.objects.create_superuser("staff@example.com", "correct horse battery"))


def told(staff: Visitor) -> dict[str, Any]:
    answer: dict[str, Any] = staff.get(JSON).json()
    return answer


def tones(staff: Visitor) -> dict[str, str]:
    return {signal["name"]: signal["tone"] for signal in told(staff)["signals"]}


def test_when_all_is_well_it_says_so(sandbox: Sandbox, staff: Visitor, alice: User, acme: Customer) -> None:
    quick_connect(acme, sandbox, by=alice)
    announce(staff, upload(sandbox))
    jobs.sweep(by="host-1, process 7")

    assert set(tones(staff).values()) == {"success"}
    page = staff.get(PAGE).text
    for words in (
        "Operations",
        "host-1, process 7",
        "Nothing is waiting.",
        "Connected",
        "newest",
        "Django",
        "Schema of accounts",
    ):
        assert words in page
    seen = told(staff)
    assert (seen["connections"]["connected"], seen["delivery_waiting_since"], seen["event_waiting_since"]) == (
        1,
        None,
        None,
    )
    assert list(seen["keys"].values()) == [1]


def test_what_waits_is_told_with_how_long(staff: Visitor, acme: Customer) -> None:
    Delivery.objects.create(body=b"{}")
    Delivery.objects.update(received_at=Now() - timedelta(minutes=7))
    seen = told(staff)

    assert seen["deliveries"]["received"] == 1
    assert {"name": "Queue", "tone": "warning", "words": "The oldest item has waited for 7 minutes."} in seen["signals"]

    Delivery.objects.all().delete()
    connection = Connection.objects.create(customer=acme, state=State.CONNECTED)
    Event.objects.create(connection=connection, received_at=timezone.now())
    EventQueue.objects.create(connection=connection, due_at=timezone.now() - timedelta(hours=3))
    assert "The oldest item has waited for 3 hours." in staff.get(PAGE).text


def test_events_that_are_retried_are_no_good_news(staff: Visitor, acme: Customer) -> None:
    connection = Connection.objects.create(customer=acme, state=State.TROUBLE)
    make_events(connection, 136, state=Event.State.RETRYING, next_attempt_at=timezone.now() + timedelta(hours=1))
    EventQueue.objects.create(connection=connection, paused_until=timezone.now() + timedelta(hours=1))
    (signal,) = [signal for signal in told(staff)["signals"] if signal["name"] == "Events"]
    assert signal["tone"] == "warning"
    assert signal["words"] == "136 events are being retried. SnapInspect does not answer 1 of the connections."
    assert "text-nowrap flex-shrink-0" in staff.get("/staff/operations/").text


def test_without_a_worker_it_says_that_nothing_is_processed(staff: Visitor) -> None:
    assert tones(staff)["Workers"] == "danger"

    call_command("sweep")
    assert tones(staff)["Workers"] == "success"

    Worker.objects.update(swept_at=F("swept_at") - timedelta(minutes=2))
    assert tones(staff)["Workers"] == "danger"
    assert "manage.py sweep" in staff.get(PAGE).text


def test_workers_that_are_long_gone_are_forgotten() -> None:
    Worker.objects.note_sweep("old")
    Worker.objects.update(swept_at=Now() - timedelta(days=2))

    Worker.objects.note_sweep("new")
    Worker.objects.note_sweep("new")

    assert list(Worker.objects.values_list("name", flat=True)) == ["new"]


def test_limited_exchanges_missing_keys_and_stuck_mails_stand_out(
    staff: Visitor, acme: Customer, settings: Settings
) -> None:
    connection = Connection.objects.create(customer=acme, notice=Notice.BROKEN, next_notice_at=timezone.now())
    Connection.objects.update(state_since=Now() - timedelta(minutes=10))
    WebhookEndpoint.objects.create(customer=acme, url="https://a.example/", notice_at=timezone.now())
    TokenPair.objects.create(connection=connection, sealed_access=b"x", sealed_refresh=b"y", key_id="gone1234")
    ExchangeStatus.objects.create(pk=1, limited_since=timezone.now())

    seen = told(staff)

    by_name = {signal["name"]: signal for signal in seen["signals"]}
    assert [by_name[name]["tone"] for name in ("Tokens", "Keys", "Mail")] == ["danger", "danger", "warning"]
    assert "gone1234" in by_name["Keys"]["words"]
    assert seen["keys"] == {"gone1234": 1}
    assert seen["mails_waiting"] == 2
    assert "not configured" in staff.get(PAGE).text


def test_recent_errors_are_counted_and_older_ones_are_not(staff: Visitor, acme: Customer) -> None:
    connection = Connection.objects.create(customer=acme, state=State.TROUBLE, error_kind="timeout")
    event = Event.objects.create(connection=connection, received_at=timezone.now(), state=Event.State.FAILED)
    old = Attempt.objects.create(event=event, duration=timedelta(), error_kind="handler")
    Attempt.objects.filter(pk=old.pk).update(at=Now() - timedelta(hours=25))
    for error_kind in ("handler", "handler", "limited", ""):
        Attempt.objects.create(event=event, duration=timedelta(), error_kind=error_kind)

    seen = told(staff)

    assert seen["event_troubles"] == {"handler": 2, "limited": 1}
    assert seen["connection_troubles"] == {"timeout": 1}
    assert seen["events"]["failed"] == 1


def test_every_figure_leads_to_its_rows(staff: Visitor) -> None:
    make_rows(2, start=0)
    page = staff.get(PAGE)

    links = [row for _, rows in page.context["groups"] + page.context["troubles"] for row in rows]
    assert len(links) > 12
    for words, address, count in links:
        listed = staff.get(address)
        assert listed.status_code == 200, words
        if "event/?last_error" not in address:  # tries are counted there, and events listed
            assert listed.context["cl"].result_count == count, words


def test_nobody_but_staff_sees_it_and_no_customer_is_named(
    sandbox: Sandbox, visit: Visit, staff: Visitor, alice: User, acme: Customer, stranger: Visitor
) -> None:
    quick_connect(acme, sandbox, by=alice)
    for path in (PAGE, JSON, "/staff/"):
        assert stranger.get(path)["Location"].startswith("/accounts/login/")
        assert visit(alice).get(path).status_code == 403
    for path in (PAGE, JSON):
        text = staff.get(path).text
        assert [words for words in (acme.name, acme.code, "6847", "Harbour") if words in text] == []
    assert staff.get("/staff/")["Location"] == PAGE
    assert PAGE in staff.get("/admin/").text


def test_it_asks_the_same_few_questions_however_many_rows_there_are(staff: Visitor) -> None:
    make_rows(1, start=0)
    counted = []
    for start in (100, 200):
        make_rows(10, start=start)
        with CaptureQueriesContext(database) as asked:
            status.read()
        counted.append(len(asked))

    # One is about webhook endpoints; two more find the keys of those that are there.
    assert counted[0] == counted[1] <= 31


def test_the_page_asks_for_itself_anew_and_gets_only_that_part(staff: Visitor) -> None:
    assert 'hx-trigger="every 10s' in staff.get(PAGE).text
    part = staff.get(PAGE, headers={"HX-Request": "true"}).text
    assert part.lstrip().startswith('<div id="operations"')

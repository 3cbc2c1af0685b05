"""What a customer sees of its events, and who sees webhook addresses."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.conf import settings
from django.core.management import call_command

from accounts.models import Customer, User
from integrations.models import Attempt, Connection, Delivery, Event, EventDelivery, State
from tests.support.clients import Sandbox, Visitor, work
from tests.support.many_events import make_events

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def connection(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    return visit(alice).connect(acme, sandbox)


def upload(sandbox: Sandbox, company: str = "6847", title: str = "Flat 2") -> str:
    """The ID of an inspection uploaded at SnapInspect."""
    made = sandbox.control("POST", "inspections", {"company": int(company), "title": title})
    return str(made["iInspectionID"])


def deliver(visitor: Any, **payload: object) -> int:
    secret = settings.SNAPINSPECT_WEBHOOK_SECRETS[0]
    answer = visitor.post(f"/webhooks/snapinspect/{secret}/", json.dumps(payload), content_type="application/json")
    work()
    return int(answer.status_code)


def announce(visitor: Any, inspection: str, company: str = "6847") -> int:
    return deliver(visitor, sType="Create_Inspection", iInspectionID=int(inspection), iCompanyID=int(company))


def test_an_upload_appears_verified_with_what_snapinspect_says(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection, stranger: Visitor
) -> None:
    inspection = upload(sandbox, title="Harbour Street 7")
    assert announce(stranger, inspection) == 200

    browser = visit(alice)
    listed = browser.get(f"/c/{acme.code}/events/?q={inspection}").text
    assert "Inspection uploaded" in listed
    assert "<span data-badge>Done</span>" in listed
    event = Event.objects.get()
    page = browser.get(f"/c/{acme.code}/events/{event.code}/").text
    for words in ("Verified", "Harbour Street 7", inspection, "Create_Inspection", "Replay"):
        assert words in page


def test_an_inspection_is_called_by_its_title_and_a_change_of_status_says_from_what_to_what(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection, stranger: Visitor
) -> None:
    inspection = upload(sandbox, title="Routine inspection, Flat 4")
    announce(stranger, inspection)
    change = {"action": "status", "inspection": inspection, "status": "Completed"}
    assert requests.post(f"{sandbox.url}sandbox/inspections", data=change, timeout=10).ok
    deliver(stranger, sType="Update_Inspection_Status", iInspectionID=int(inspection), iCompanyID=6847)

    uploaded, changed = Event.objects.order_by("pk")
    assert (uploaded.inspection_status, uploaded.previous_status) == ("Uploaded", "")
    assert (changed.inspection_status, changed.previous_status) == ("Completed", "Uploaded")
    browser = visit(alice)
    where = f"/c/{acme.code}/events"
    listed = " ".join(browser.get(f"{where}/").text.split())
    assert listed.count("<bdi>Routine inspection, Flat 4</bdi>") == 2
    assert listed.count("from Uploaded to Completed") == 1
    page = " ".join(browser.get(f"{where}/{changed.code}/").text.split())
    assert "<title>Routine inspection, Flat 4 ·" in page
    assert re.search(r"<h1[^>]*> ?<bdi>Routine inspection, Flat 4</bdi>", page)
    told = f"“Routine inspection, Flat 4” (inspection {inspection}) changed from Uploaded to Completed"
    assert f"SnapInspect told us that the status of {told}" in page
    assert "Completed, before: Uploaded" in page
    replayed = browser.post(f"{where}/{changed.code}/replay/")
    assert replayed.status_code == 302
    work()
    changed.refresh_from_db()
    assert (changed.state, changed.previous_status) == (Event.State.DONE, "Uploaded"), "a replay changes no history"
    export = browser.get(f"{where}.csv").getvalue().decode().splitlines()
    assert f'"{inspection}","Routine inspection, Flat 4","Uploaded","Completed"' in export[1]


def test_replay_processes_a_finished_event_again(
    sandbox: Sandbox, visit: Visit, bob: User, victor: User, acme: Customer, connection: Connection, stranger: Visitor
) -> None:
    announce(stranger, upload(sandbox))
    event = Event.objects.get()
    where = f"/c/{acme.code}/events/{event.code}/replay/"

    assert visit(victor).post(where).status_code == 403
    page = visit(bob).post(where, follow=True).text
    assert "Replay started" in page
    work()
    event.refresh_from_db()
    assert event.state == Event.State.DONE
    assert event.replays == 1


def test_the_page_tells_in_words_what_happened_how_often_it_was_said_and_what_was_tried(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection, stranger: Visitor
) -> None:
    inspection = upload(sandbox)
    announce(stranger, inspection)
    event = Event.objects.get()
    body = Delivery.objects.get().body
    second = Delivery.objects.create(body=body, state=Delivery.State.PLACED, content_type="application/json")
    EventDelivery.objects.create(event=event, delivery=second)
    Attempt.objects.create(event=event, error_kind="handler_failed", duration=timedelta(seconds=2), handler="crm.tell")

    page = " ".join(visit(alice).get(f"/c/{acme.code}/events/{event.code}/").text.split())
    assert f"SnapInspect told us 2 times that “Flat 2” (inspection {inspection}) was uploaded" in page
    assert page.count("Same content as above.") == 1
    assert "crm.tell" in page and "2000 ms" in page
    assert f"$SNAPINSPECT_TOKEN&quot; {sandbox.url}inspections/{inspection}" in page


def test_what_snapinspect_has_not_confirmed_is_not_told_as_its_word(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    (event,) = make_events(connection, 1, state=Event.State.FAILED, attempts=3, type="Create_Inspection")
    delivery = Delivery.objects.create(body=b"{}", state=Delivery.State.PLACED)
    EventDelivery.objects.create(event=event, delivery=delivery)

    page = " ".join(visit(alice).get(f"/c/{acme.code}/events/{event.code}/").text.split())
    assert "We received an unverified notice: inspection" in page and "SnapInspect told us" not in page
    assert "Processing failed after 3 attempts." in page


def test_attempts_are_counted_as_the_table_and_the_limit_have_them(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    def page(**fields: Any) -> str:
        (event,) = make_events(connection, 1, **fields)
        for _ in range(3):
            Attempt.objects.create(event=event, error_kind=fields["last_error_kind"], duration=timedelta(seconds=1))
        return " ".join(visit(alice).get(f"/c/{acme.code}/events/{event.code}/").text.split())

    unknown = page(state=Event.State.RETRYING, attempts=2, last_error_kind="not_found")
    assert "Attempt 2 of 3 failed." in unknown and "Attempt 2 of 3, next" in unknown
    outage = page(state=Event.State.RETRYING, attempts=0, last_error_kind="timeout")
    assert "does not count as an attempt" in outage and "Next try" in outage and "Attempt 0" not in outage
    assert "could not be asked, are not counted." in outage
    assert "are not counted" not in page(state=Event.State.FAILED, attempts=3, last_error_kind="not_found")


def test_nothing_is_replayed_for_a_disconnected_connection(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    (event,) = make_events(connection, 1, state=Event.State.FAILED)
    connection.move_to(State.DISCONNECTED)
    browser, where = visit(alice), f"/c/{acme.code}/events/{event.code}/"
    page = browser.get(where).text
    assert f"{where}replay/" not in page
    assert "To replay this event, reconnect" in page

    page = browser.post(f"{where}replay/", follow=True).text
    assert "connection is disconnected. Reconnect it to replay the event." in page
    assert "Replay started." not in page
    event.refresh_from_db()
    assert event.state == Event.State.FAILED


def test_a_replay_waits_for_a_reconnect_and_says_so(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    (event,) = make_events(connection, 1, state=Event.State.FAILED)
    connection.move_to(State.NEEDS_RECONNECT)
    page = visit(alice).post(f"/c/{acme.code}/events/{event.code}/replay/", follow=True).text
    assert f"will be processed after you reconnect {connection.label}." in page
    assert "in a moment" not in page


def test_pressing_replay_twice_gives_one_message(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    (event,) = make_events(connection, 1, state=Event.State.FAILED)
    browser, where = visit(alice), f"/c/{acme.code}/events/{event.code}/"
    for _ in range(2):
        browser.post(f"{where}replay/")
    messages = re.search(r'id="messages".*?<div id="live"', browser.get(where).text, re.S)
    assert messages and messages[0].count('role="status"') == 1
    assert "Replay started." in messages[0]


def test_neighbours_are_those_of_the_filtered_list(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    first, between, last = make_events(connection, 3, state=Event.State.FAILED)
    Event.objects.filter(pk=between.pk).update(state=Event.State.DONE)
    where = f"/c/{acme.code}/events/"
    browser = visit(alice)

    def neighbours(query: str) -> list[str]:
        page = browser.get(f"{where}{first.code}/{query}").text
        return re.findall(rf'rel="\w+"\s+href="{where}(\w+)/', page)

    assert neighbours("") == [between.code]
    assert neighbours("?state=failed") == [last.code]
    assert neighbours("?state=nonsense") == [between.code]


def test_an_event_asks_for_itself_in_any_state(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    (event,) = make_events(connection, 1, state=Event.State.RECEIVED)
    where = f"/c/{acme.code}/events/{event.code}/"
    browser = visit(alice)

    asked = re.search(r'id="event"\s+data-live\s+hx-get="([^"]+)"', browser.get(where).text)
    assert asked
    assert browser.get(asked[1], headers={"HX-Request": "true"}).status_code == 204
    Event.objects.update(state=Event.State.DONE)
    part = browser.get(asked[1], headers={"HX-Request": "true"}).text
    assert "data-live" in part and "<html" not in part and "<span data-badge>Done</span>" in part


def test_hostile_bodies_are_shown_as_text(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection, stranger: Visitor
) -> None:
    inspection = upload(sandbox, title="<script>alert(1)</script>")
    deliver(
        stranger,
        sType="<img src=x onerror=alert(1)>",
        iInspectionID=int(inspection),
        iCompanyID=6847,
        sNote="</pre><script>alert(2)</script>",
    )

    browser = visit(alice)
    event = Event.objects.get()
    for page in (browser.get(f"/c/{acme.code}/events/"), browser.get(f"/c/{acme.code}/events/{event.code}/")):
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text


def test_another_customers_event_does_not_exist(
    sandbox: Sandbox, visit: Visit, charlie: User, connection: Connection, stranger: Visitor
) -> None:
    announce(stranger, upload(sandbox))
    event = Event.objects.get()
    his = charlie.customers.get()

    browser = visit(charlie)
    assert browser.get(f"/c/{his.code}/events/{event.code}/").status_code == 404
    assert browser.post(f"/c/{his.code}/events/{event.code}/replay/").status_code == 404
    assert event.inspection_id not in browser.get(f"/c/{his.code}/events/").text


def test_only_owners_see_a_connections_own_address_and_can_replace_it(
    visit: Visit, alice: User, bob: User, acme: Customer, connection: Connection
) -> None:
    where = f"/c/{acme.code}/connections/{connection.code}/webhook/"

    assert visit(bob).get(where).status_code == 403
    assert visit(bob).post(f"{where}replace/").status_code == 403
    owner = visit(alice)
    assert "no separate address" in owner.get(where).text
    page = owner.post(f"{where}replace/", follow=True).text
    assert "/webhooks/snapinspect/" in page


def test_the_personal_token_page_shows_the_address_to_owners_only(
    visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    where = visit(alice).post(f"/c/{acme.code}/personal/")["Location"]

    assert "/webhooks/snapinspect/" in visit(alice).get(where).text
    assert "/webhooks/snapinspect/" not in visit(bob).get(where).text


def test_the_applications_address_is_for_staff_only(
    visit: Visit, alice: User, acme: Customer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert visit(alice).get("/staff/registration/").status_code == 403
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    text = visit(alice).get("/staff/registration/").text
    assert settings.SNAPINSPECT_WEBHOOK_SECRETS[0] in text
    assert settings.SNAPINSPECT_REDIRECT_URI in text

    call_command("registration_email")
    assert settings.SNAPINSPECT_WEBHOOK_SECRETS[0] in capsys.readouterr().out

"""What a customer sees of its events, and who sees webhook addresses."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command

from accounts.models import Customer, User
from integrations.models import Connection, Event
from tests.driving import Sandbox, Visitor, work

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


def test_replay_processes_a_finished_event_again(
    sandbox: Sandbox, visit: Visit, bob: User, victor: User, acme: Customer, connection: Connection, stranger: Visitor
) -> None:
    announce(stranger, upload(sandbox))
    event = Event.objects.get()
    where = f"/c/{acme.code}/events/{event.code}/replay/"

    assert visit(victor).post(where).status_code == 403
    page = visit(bob).post(where, follow=True).text
    assert "being processed again" in page
    work()
    event.refresh_from_db()
    assert event.state == Event.State.DONE
    assert event.replays == 1


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
    assert "no address of its own" in owner.get(where).text
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
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    text = visit(alice).get("/staff/registration/").text
    assert settings.SNAPINSPECT_WEBHOOK_SECRETS[0] in text
    assert settings.SNAPINSPECT_REDIRECT_URI in text

    call_command("registration_email")
    assert settings.SNAPINSPECT_WEBHOOK_SECRETS[0] in capsys.readouterr().out

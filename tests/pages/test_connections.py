"""The pages about connections: what they say in each state, what can be done there, and by whom."""

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import audit, mail_preferences
from accounts.models import Customer, Role, User
from integrations import wording
from integrations.models import Connection, ConnectionTest, Event, Kind, State, TokenPair
from integrations.operations import retention
from tests.support.clients import COMPANY_OF_OTHER, COMPANY_OF_PAT, OTHER, Sandbox, Visitor, audited, work

pytestmark = pytest.mark.django_db
Visit = Callable[[User], Visitor]


def make(customer: Customer, company: str = "6847", **fields: Any) -> Connection:
    now = timezone.now()
    kept: dict[str, Any] = {"state": State.CONNECTED, "connected_at": now, "proved_at": now, **fields}
    return Connection.objects.create(customer=customer, company_id=company, **kept)


def page_of(connection: Connection, tab: str = "") -> str:
    return f"/c/{connection.customer.code}/connections/{connection.code}/{tab}"


def words(page: str) -> str:
    """What a person reads on it."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def followed(page: str) -> str:
    """The address that the page asks whether the states that it shows have changed."""
    (address,) = re.findall(r'hx-get="([^"]*/connection-states/[^"]*)"', page)
    return html.unescape(address)


def names(page: str) -> list[str]:
    return re.findall(r'<th scope="row"[^>]*>\s*<a [^>]*>([^<]*)</a>', page)


def test_the_list_shows_those_that_need_a_person_first(visit: Visit, alice: User, acme: Customer) -> None:
    make(acme, "1", company_name="Alder")
    make(acme, "2", company_name="Birch", state=State.DISCONNECTED)
    make(acme, "3", company_name="Cedar", state=State.NEEDS_RECONNECT)
    assert names(visit(alice).get(f"/c/{acme.code}/connections/").text) == ["Cedar", "Alder", "Birch"]


def test_the_list_is_filtered_by_the_badge_in_the_address(visit: Visit, alice: User, acme: Customer) -> None:
    make(acme, "1", company_name="Alder")
    make(acme, "2", company_name="Birch", state=State.TROUBLE)
    browser, address = visit(alice), f"/c/{acme.code}/connections/"
    assert names(browser.get(f"{address}?state=trouble").text) == ["Birch"]
    for nothing in ("disconnected", "nonsense", "\0", "1" * 5000):
        page = browser.get(address, {"state": nothing})
        assert (page.status_code, names(page.text)) == (200, [])
        assert "No connections with this status" in page.text


def test_an_empty_list_says_what_will_appear_and_holds_the_one_button(
    visit: Visit, alice: User, victor: User, acme: Customer
) -> None:
    address = f"/c/{acme.code}/connections/"
    page = visit(alice).get(address).text
    assert "No connections yet" in page
    assert page.count("Connect with SnapInspect") == 1
    assert "Ask an owner or member" in visit(victor).get(address).text


def test_the_list_costs_the_same_queries_however_long_it_is(visit: Visit, alice: User, acme: Customer) -> None:
    browser, address = visit(alice), f"/c/{acme.code}/connections/"
    counted = []
    for company in (1, 12):
        for number in range(company):
            if not acme.connections.filter(company_id=str(number)).exists():
                connection = make(acme, str(number), connected_by=alice)
                Event.objects.create(connection=connection, received_at=timezone.now())
        with CaptureQueriesContext(database) as queries:
            browser.get(address)
        counted.append(len(queries))
    assert counted[0] == counted[1]
    assert counted[1] <= 12


def test_a_detail_page_costs_the_same_queries_however_much_has_happened(
    visit: Visit, alice: User, acme: Customer
) -> None:
    browser, connection = visit(alice), make(acme, connected_by=alice)
    counted = []
    for number in (1, 20):
        for _ in range(number):
            ConnectionTest.objects.create(connection=connection, by=alice, duration=timedelta(seconds=1))
            Event.objects.create(connection=connection, received_at=timezone.now(), state=Event.State.FAILED)
        with CaptureQueriesContext(database) as queries:
            browser.get(page_of(connection))
        counted.append(len(queries))
    assert counted[0] == counted[1]
    assert counted[1] <= 15


@pytest.mark.parametrize(
    ("fields", "told", "button"),
    [
        ({}, ["Company 6847", "last checked", "no events yet"], "Test connection"),
        (
            {"state": State.TROUBLE, "error_kind": "timeout"},
            ["did not answer in time", "Nothing is lost", "Next try"],
            "Test connection",
        ),
        (
            {"state": State.NEEDS_RECONNECT},
            ["no longer accepts our access", "New inspections are stored"],
            "Reconnect",
        ),
        (
            {"state": State.NEEDS_RECONNECT, "kind": Kind.PERSONAL},
            ["does not accept this token", "Replace it to continue"],
            "Replace token",
        ),
        ({"state": State.DISCONNECTED}, ["Disconnected", "Your events are kept"], "Reconnect"),
        (
            {"state": State.SETUP_PROBLEM, "error_kind": "exchange_refused"},
            ["not set up correctly", "mention Ref"],
            "Copy reference",
        ),
    ],
)
def test_each_state_says_what_it_means_and_offers_the_way_out(
    fields: dict[str, Any], told: list[str], button: str, visit: Visit, alice: User, acme: Customer
) -> None:
    connection = make(acme, **fields)
    page = visit(alice).get(page_of(connection))
    assert all(sentence in words(page.text) for sentence in told), words(page.text)
    assert button in words(page.text)
    assert re.findall(r"data-badge[^>]*>([^<]*)<", page.text) == [connection.badge.label]


def test_a_viewer_sees_everything_and_can_press_nothing(visit: Visit, victor: User, acme: Customer) -> None:
    page = visit(victor).get(page_of(make(acme))).text
    main = page[page.index("<main") : page.index("</main")]
    assert "<form" not in main
    assert "Settings" not in main


def test_disconnect_says_what_it_does_and_the_page_until_when_events_are_kept(
    visit: Visit, alice: User, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AFTER_DISCONNECT", timedelta(days=17))
    connection = make(acme)
    assert "Events are kept until" not in words(visit(alice).get(page_of(connection)).text)
    asked = words(visit(alice).get(page_of(connection, "disconnect/")).text)
    for sentence in (
        "delete the tokens here",
        "stop receiving new events",
        "kept for 17 days",
        "SnapInspect may still list",
    ):
        assert sentence in asked

    connection.move_to(State.DISCONNECTED)
    connection.refresh_from_db()
    until = connection.state_since + timedelta(days=17)
    assert f"kept until {until:%-d %B %Y}" in words(visit(alice).get(page_of(connection)).text)


def test_the_settings_name_those_who_want_the_mails_not_all_owners(
    visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    page = page_of(make(acme), "settings/")
    mail_preferences.save(acme.memberships.get(user=bob), trouble_mails=True, daily_digest=False)

    def told() -> list[str]:
        text = visit(alice).get(page).text
        listed = text[text.index("Email notifications") :]
        return re.findall(r"<li>(\S+@\S+)</li>", listed[: listed.index("</section>")])

    assert told() == [alice.email, bob.email]
    mail_preferences.save(acme.memberships.get(user=alice), trouble_mails=False, daily_digest=False)
    acme.memberships.filter(user=bob).update(role=Role.OWNER)
    assert told() == [bob.email]


@pytest.mark.django_db(transaction=True)
def test_who_disconnected_it_is_told_and_connecting_again_keeps_everything(
    visit: Visit, alice: User, bob: User, acme: Customer, sandbox: Sandbox
) -> None:
    connection = visit(alice).connect(acme, sandbox)
    Event.objects.create(connection=connection, received_at=timezone.now())
    connection.rename("Head office")
    visit(bob).post(page_of(connection, "disconnect/"))
    assert "Disconnected by bob@example.com" in words(visit(alice).get(page_of(connection)).text)

    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection)))
    work()
    again = acme.connections.get()
    assert (again.pk, again.state, again.label, again.events.count()) == (
        connection.pk,
        State.CONNECTED,
        "Head office",
        1,
    )


def test_a_name_of_ones_own_wins_and_an_empty_one_brings_the_companys_back(
    visit: Visit, bob: User, acme: Customer
) -> None:
    connection, browser = make(acme, company_name="Harbour PM"), visit(bob)
    for name, label in (("  Head office ", "Head office"), ("", "Harbour PM")):
        assert browser.post(page_of(connection, "settings/"), {"name": name}).status_code == 302
        assert f'<h1 class="h3 mb-0">{label}</h1>' in browser.get(page_of(connection)).text
    assert audited("connection.renamed") == 2


@pytest.mark.parametrize("name", ["x" * 101, "nul\0", "two\nlines\0"])
def test_a_name_that_cannot_be_is_refused_with_a_sentence(name: str, visit: Visit, bob: User, acme: Customer) -> None:
    connection = make(acme, company_name="Harbour PM")
    answer = visit(bob).post(page_of(connection, "settings/"), {"name": name})
    assert answer.status_code == 200
    assert "errorlist" in answer.text
    assert Connection.objects.get().own_name == ""


@pytest.mark.django_db(transaction=True)
def test_the_page_that_watched_a_connection_is_shown_anew_when_it_has_come_to_its_end(
    visit: Visit, alice: User, acme: Customer, sandbox: Sandbox
) -> None:
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme)))
    states = followed(browser.get(f"/c/{acme.code}/").text)
    assert "HX-Trigger" not in browser.get(states).headers
    work()
    answer = browser.get(states)
    assert answer.headers["HX-Trigger"] == "connections-changed"
    told = words(answer.text)
    assert f"Connected to company {COMPANY_OF_PAT}. Upload a test inspection" in told


@pytest.mark.django_db(transaction=True)
def test_a_refused_reconnect_is_not_told_as_connected(
    visit: Visit, alice: User, acme: Customer, sandbox: Sandbox
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection)))
    states = followed(browser.get(f"/c/{acme.code}/").text)
    TokenPair.objects.candidates().delete()  # as `connecting.completion` does with a pair that is refused
    told = words(browser.get(states).text)
    assert wording.NOT_RECONNECTED in told
    assert "Connected to company" not in told


@pytest.mark.django_db(transaction=True)
def test_a_company_that_was_connected_before_is_renewed_and_the_page_says_so(
    visit: Visit, alice: User, acme: Customer, sandbox: Sandbox
) -> None:
    browser = visit(alice)
    browser.connect(acme, sandbox)
    browser.open_callback(sandbox.decide(browser.start_connect(acme)))
    states = followed(browser.get(f"/c/{acme.code}/").text)
    work()
    assert acme.connections.count() == 1
    answer = browser.get(states)
    assert answer.headers["HX-Trigger"] == "connections-changed"
    assert "is already connected" in answer.text


NAMELESS = "701"  # an account of the stand-in whose `/user` names no company


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("account", "told", "button"),
    [
        (OTHER, "for Meadow Lettings (company 7001) , but", "Add Meadow Lettings as well"),
        (NAMELESS, "for a company whose name SnapInspect did not tell , but", "Add the other company as well"),
    ],
)
def test_another_company_than_before_is_one_question_and_the_connection_stays_connected(
    account: str, told: str, button: str, visit: Visit, alice: User, acme: Customer, sandbox: Sandbox
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection), account=account))
    states = followed(browser.get(f"/c/{acme.code}/").text)
    work()
    assert TokenPair.objects.candidates().get().asks
    assert "Connected to company" not in browser.get(states).text

    for where in (f"/c/{acme.code}/", page_of(connection)):
        page = browser.get(where).text
        assert re.findall(r"data-badge[^>]*>([^<]*)<", page) == ["Connected"]
        page = words(page)
        assert "was reconnected with another company. Everything works as before until you choose." in page
        assert told in page
        assert f"this connection is for Harbour Property (company {COMPANY_OF_PAT}) . It works as before." in page
        assert "Keep only Harbour Property" in page
        assert button in page
        for contradiction in ("are stored", "needs your attention", "last checked"):
            assert contradiction not in page

    browser.post(page_of(connection, "answer/"), {"answer": "add"})
    added = COMPANY_OF_OTHER if account == OTHER else ""
    assert set(acme.connections.values_list("company_id", flat=True)) == {COMPANY_OF_PAT, added}
    assert "another company" not in words(browser.get(page_of(connection)).text)


def test_the_settings_name_those_who_are_mailed(visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    page = page_of(make(acme), "settings/")
    assert bob.email not in visit(alice).get(page).text
    mail_preferences.save(bob.memberships.get(), trouble_mails=True, daily_digest=False)
    assert bob.email in visit(alice).get(page).text


def test_a_name_is_one_line_however_it_is_sent(visit: Visit, bob: User, acme: Customer) -> None:
    connection = make(acme)
    visit(bob).post(page_of(connection, "settings/"), {"name": "Harbour\rPM\n\nof  Acme"})
    assert Connection.objects.get(pk=connection.pk).own_name == "Harbour PM of Acme"


def test_who_disconnected_it_is_told_after_their_account_is_gone(acme: Customer, bob: User) -> None:
    connection = make(acme, state=State.DISCONNECTED)
    audit.record("connection.disconnected", customer=acme, actor=bob, subject=connection.code)
    bob.delete()
    assert acme.connections.get().disconnected_by == "bob@example.com"


def test_a_new_webhook_address_says_what_becomes_of_the_old_one(visit: Visit, alice: User, acme: Customer) -> None:
    browser, page = visit(alice), page_of(make(acme), "webhook/replace/")
    assert "The old address" not in browser.post(page, follow=True).text
    assert "The old address works for two more weeks" in browser.post(page, follow=True).text

"""The dashboard: what a customer sees first, and the figures, correct in the visitor's days and cheap at any size."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from allauth.account.models import EmailAddress
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.models import Connection, Event, State
from integrations.views import figures
from integrations.views.chart import BAR, Chart
from integrations.views.figures import Day
from tests.support.clients import Sandbox, Visitor
from tests.support.deliveries import deliver, payload

pytestmark = pytest.mark.django_db
Visit = Callable[[User], Visitor]
BUTTONS = (
    "Connect with SnapInspect",
    "Test connection",
    "Reconnect",
    "Disconnect",
    "Use a personal access token",
)


def connected(customer: Customer, company: str = "6847", **fields: Any) -> Connection:
    kept: dict[str, Any] = {"state": State.CONNECTED, "connected_at": timezone.now(), **fields}
    return Connection.objects.create(customer=customer, company_id=company, **kept)


def event(connection: Connection, at: datetime, state: str = Event.State.DONE, **fields: Any) -> Event:
    return Event.objects.create(connection=connection, received_at=at, state=state, **fields)


def figures_shown(browser: Visitor, customer: Customer) -> Any:
    return browser.get(f"/c/{customer.code}/numbers.json").json()


def queries(browser: Visitor, address: str) -> int:
    browser.get(address)  # the first visit also notes which customer one was at last
    with CaptureQueriesContext(database) as captured:
        assert browser.get(address).status_code == 200
    return len(captured)


def test_all_buttons_and_the_one_badge_are_on_the_dashboard_while_there_is_one_connection(
    visit: Visit, alice: User, acme: Customer
) -> None:
    connected(acme)
    page = visit(alice).get(f"/c/{acme.code}/").text
    for button in BUTTONS:
        assert len(re.findall(rf">\s*{button}\s*<", page)) == 1, button
    assert re.findall(r"data-badge[^>]*>([^<]*)<", page) == ["Connected"]


def test_many_connections_are_a_list_with_a_badge_each(visit: Visit, alice: User, acme: Customer) -> None:
    for company in range(12):
        connected(acme, str(company))
    page = visit(alice).get(f"/c/{acme.code}/").text
    assert re.findall(r"data-badge[^>]*>([^<]*)<", page) == ["Connected"] * 12
    assert "12 of 12" in page


def test_the_first_of_several_connections_have_boxes_and_all_have_their_actions(
    visit: Visit, alice: User, acme: Customer
) -> None:
    for company in range(5):
        connected(acme, str(company))
    page = visit(alice).get(f"/c/{acme.code}/").text
    assert len(re.findall(r'<section class="card mb-3"\s+id="connection-', page)) == 2
    assert len(re.findall(r"<li [^>]*id=\"connection-", page)) == 3
    for button in ("Test connection", "Reconnect", "Disconnect"):
        assert len(re.findall(rf">\s*{button}\s*<", page)) == 5, button


@pytest.mark.parametrize(
    ("states", "sentence"),
    [
        ([State.CONNECTED], "Your connection is working."),
        ([State.TROUBLE], "SnapInspect is not answering. Nothing is lost, and we keep trying."),
        ([State.CONNECTED, State.TROUBLE], "1 of 2 connections are working."),
        ([State.CONNECTED, State.NEEDS_RECONNECT], "1 of 2 connections needs your attention. Nothing is lost."),
    ],
)
def test_one_sentence_says_how_the_connections_are(
    states: list[State], sentence: str, visit: Visit, alice: User, acme: Customer
) -> None:
    for company, state in enumerate(states):
        connected(acme, str(company), state=state)
    assert f">{sentence}</p>" in visit(alice).get(f"/c/{acme.code}/").text


def test_the_newest_events_of_all_connections_are_shown_by_their_titles(
    visit: Visit, alice: User, acme: Customer, charlie: User
) -> None:
    now = timezone.now()
    event(connected(charlie.customers.get()), now, inspection_title="Not ours")
    for company in range(7):
        connection = connected(acme, str(company))
        for number in range(2):
            at = now - timedelta(minutes=10 * company + number)
            event(connection, at, inspection_title=f"Flat {company}-{number}", inspection_id="1")
    newest = event(connection, now, Event.State.RECEIVED, inspection_id="1388563")
    event(connection, now, Event.State.RECEIVED, repeat_of=newest, inspection_title="A repetition")
    page = visit(alice).get(f"/c/{acme.code}/").text
    assert re.findall(r"<bdi>(.*?)</bdi>", page) == ["Flat 0-0", "Flat 0-1", "Flat 1-0", "Flat 1-1"]
    assert "inspection 1388563" in page


def test_each_figure_leads_to_what_it_counts(visit: Visit, alice: User, acme: Customer) -> None:
    now = timezone.now()
    connection = connected(acme)
    for state, days in (
        (Event.State.DONE, 0),
        (Event.State.FAILED, 1),
        (Event.State.FAILED, 45),
        (Event.State.RETRYING, 45),
    ):
        event(connection, now - timedelta(days=days), state)
    browser = visit(alice)
    page = browser.get(f"/c/{acme.code}/").text
    links = re.findall(r'class="card h-100 text-decoration-none"\s+href="([^"]+)"', page)
    figures_told = [int(figure) for figure in re.findall(r'fs-4 fw-semibold">(\d+)<', page)]
    listed = [browser.get(link.replace("&amp;", "&")).text.count("data-row") for link in links]
    assert listed == figures_told == [2, 1, 1]


@pytest.mark.django_db(transaction=True)
def test_the_way_to_the_first_event_has_three_ticks_and_goes_away_when_they_are_done(
    visit: Visit, alice: User, acme: Customer, sandbox: Sandbox, settings: Settings
) -> None:
    settings.EMAIL_VERIFICATION = "optional"
    browser = visit(alice)

    def ticks() -> int:
        page = browser.get(f"/c/{acme.code}/").text
        return page.count("(done)") if "Getting started" in page else 3

    assert ticks() == 0
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True)
    assert ticks() == 1
    browser.connect(acme, sandbox)
    assert ticks() == 2
    deliver(payload())
    assert ticks() == 3


def test_where_addresses_are_not_confirmed_nobody_is_asked_to(visit: Visit, alice: User, acme: Customer) -> None:
    assert "Confirm your email" not in visit(alice).get(f"/c/{acme.code}/").text


def test_figures_are_of_this_customer_alone_and_of_thirty_days(
    visit: Visit, alice: User, acme: Customer, charlie: User
) -> None:
    now = timezone.now()
    connection = connected(acme)
    for state in (Event.State.DONE, Event.State.DONE, Event.State.FAILED, Event.State.IGNORED):
        event(connection, now, state)
    oldest = event(connection, now - timedelta(days=45), Event.State.RETRYING)
    event(connection, now, Event.State.RECEIVED, repeat_of=oldest)
    event(connected(charlie.customers.get()), now, Event.State.FAILED)

    found = figures_shown(visit(alice), acme)
    assert found["events_by_state"] == {"done": 2, "failed": 1, "ignored": 1}
    assert found["days"][-1] | {"date": ""} == {"date": "", "events": 4, "processed": 3, "waiting": 0, "failed": 1}
    assert len(found["days"]) == figures.DAYS
    # What waits is told however old it is.
    assert (found["waiting"], found["oldest_waiting"]["code"]) == (1, oldest.code)
    assert [one["events"] for one in found["connections"]] == [4]


@pytest.mark.parametrize(
    ("zone", "day"), [("Pacific/Auckland", 2), ("America/New_York", 1), ("No/Such_Zone", 1), ("../etc/passwd", 1)]
)
def test_an_event_counts_for_the_day_it_was_at_the_visitors_place(
    zone: str, day: int, visit: Visit, alice: User, acme: Customer
) -> None:
    first = timezone.now().astimezone(UTC).replace(day=1, hour=18, minute=0) - timedelta(days=1)
    at = first.replace(day=1) if first.replace(day=1) > timezone.now() - timedelta(days=25) else None
    at = at or timezone.now().astimezone(UTC).replace(hour=18, minute=0) - timedelta(days=10)
    event(connected(acme), at)
    browser = visit(alice)
    browser.cookies["timezone"] = zone

    found = figures_shown(browser, acme)
    counted = [entry["date"] for entry in found["days"] if entry["events"]]
    assert counted == [(at + timedelta(days=day - 1)).date().isoformat()]
    told = zone if zone[0] in "PA" else "UTC"
    assert found["time_zone"] == told
    assert f"Days are counted in {told}." in browser.get(f"/c/{acme.code}/").text


def test_a_day_on_which_clocks_change_has_all_its_hours(visit: Visit, alice: User, acme: Customer) -> None:
    new_york = ZoneInfo("America/New_York")
    day, next_day = (figures._midnight(date(2026, 11, number), new_york) for number in (1, 2))
    assert next_day.astimezone(UTC) - day.astimezone(UTC) == timedelta(hours=25)


def test_the_dashboard_costs_the_same_queries_whatever_there_is(visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    address = f"/c/{acme.code}/"
    counted = []
    for companies, events in ((3, 1), (12, 40)):
        for company in range(companies):
            connection, _ = Connection.objects.get_or_create(
                customer=acme, company_id=str(company), defaults={"state": State.NEEDS_RECONNECT}
            )
            for number in range(events):
                event(connection, timezone.now() - timedelta(days=number), Event.State.RETRYING)
        counted.append(queries(browser, address))
    assert counted[0] == counted[1]
    # Session, user, memberships, connections with history and candidates, figures, panels, the newest events.
    assert counted[1] <= 7, counted


def test_the_figures_are_read_from_an_index(acme: Customer) -> None:
    connection = connected(acme)
    event(connection, timezone.now())
    days = figures._days(timezone.localdate(), timezone.get_current_timezone())
    statement, values = figures._statement(days, [connection.pk])
    if database.vendor == "sqlite":  # PostgreSQL reads a table of one row as it is, rightly
        with database.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            plan = str(cursor.fetchall())
        assert "USING INDEX event_by_day (connection_id=? AND state=? AND received_at>?" in plan, plan
        assert "SCAN integrations_event" not in plan, plan


def test_whatever_there_is_can_be_seen_in_the_chart_and_no_bar_is_higher_than_it() -> None:
    day = Day(timezone.localdate(), processed=100_000, waiting=1, failed=1)
    drawn = Chart([Day(timezone.localdate()), day])
    assert drawn.top == 200_000
    assert drawn.blocks(drawn.days[0]) == []
    blocks = drawn.blocks(day)
    assert [block.kind for block in blocks] == ["processed", "waiting", "failed"]
    assert all(block.height >= 1 and block.y >= 0 for block in blocks)
    rightmost = max(float(x) for x in re.findall(r' x="([\d.]+)"', drawn.bars()))
    assert rightmost + BAR <= drawn.width


@pytest.mark.parametrize(("busiest", "top"), [(0, 5), (5, 5), (6, 10), (11, 20), (21, 50), (100, 100), (1001, 2000)])
def test_the_charts_top_is_a_round_number(busiest: int, top: int) -> None:
    assert Chart([Day(timezone.localdate(), processed=busiest)]).top == top

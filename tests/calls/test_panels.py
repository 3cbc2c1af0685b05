"""Panels show each customer its own live rows, fetched once per refresh time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection as database
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.models import Connection, Panel, PanelAnswer
from tests.support.clients import OTHER, Sandbox, Visitor, quick_connect, work
from tests.support.panels import address, answers, define, grow_old, part

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def test_the_built_in_panel_shows_whose_account_it_is(visit: Visit, victor: User, connection: Connection) -> None:
    page = part(visit(victor), connection, Panel.built_in())

    for words in ("Pat Harbour", "pat@harbour.example", "6847", "Full response"):
        assert words in page


def test_after_a_reconnect_as_another_user_no_name_of_the_former_one_stays(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    browser = visit(alice)
    assert "Pat Harbour" in part(browser, connection, Panel.built_in())
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection), account="502"))
    work()
    assert "Robin Quay" in part(browser, connection, Panel.built_in())
    for page in (f"/c/{acme.code}/", f"/c/{acme.code}/connections/{connection.code}/"):
        assert "Pat Harbour" not in browser.get(page).text
    connection.refresh_from_db()
    assert (connection.account_name, connection.account_email) == ("Robin Quay", "robin@harbour.example")


def test_an_operators_panel_shows_rows_in_its_columns(
    sandbox: Sandbox, visit: Visit, victor: User, connection: Connection
) -> None:
    panel = define(columns="Inspection: sTitle\nState: sStatus\nChanged: dtUpdated\nReviews: reviews")
    page = part(visit(victor), connection, panel)

    for words in ("12 Harbour Street", "Completed", "<time datetime=", "<code><bdi>[]</bdi></code>"):
        assert words in page
    assert "Meadow Row" not in page, "that is another company's"


def test_the_dashboard_has_a_place_for_each_panel_in_the_operators_order_and_asks_nothing_itself(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    define(title="Second", position=2)
    define(title="First", position=1)
    define(title="Hidden", is_active=False)
    page = visit(alice).get(f"/c/{acme.code}/").text

    assert page.index("SnapInspect account</h3>") < page.index("First</h3>") < page.index("Second</h3>")
    assert page.count('hx-trigger="load"') == 3 and "Hidden" not in page
    assert sandbox.calls() == []


def test_without_javascript_a_panel_is_a_page_of_its_own(visit: Visit, alice: User, connection: Connection) -> None:
    page = visit(alice).get(address(connection, define())).text
    assert "<h1" in page and "12 Harbour Street" in page


def test_a_long_list_says_how_many_of_how_many_are_shown(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    answers(sandbox, "/long", [{"n": number} for number in range(312)])
    page = part(visit(alice), connection, define("long", rows_at="", columns="N: n"))

    assert "Showing 50 of 312." in page
    assert page.count("<tr>") == 50 + 2, "the first rows, and the others behind Show more, have a header each"


def test_an_empty_list_says_so(sandbox: Sandbox, visit: Visit, alice: User, connection: Connection) -> None:
    answers(sandbox, "/none", {"rows": []})
    assert "Nothing to show" in part(visit(alice), connection, define("none", rows_at="rows"))


def test_everybody_who_looks_within_the_refresh_time_sees_one_answer(
    sandbox: Sandbox, visit: Visit, alice: User, bob: User, connection: Connection
) -> None:
    panel = define()
    for browser in (visit(alice), visit(bob), visit(alice)):
        assert "12 Harbour Street" in part(browser, connection, panel)
    assert len(sandbox.calls("/inspections")) == 1

    grow_old()
    part(visit(bob), connection, panel)
    assert len(sandbox.calls("/inspections")) == 2


def test_of_many_who_look_at_the_same_moment_one_asks(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    panel = define()
    sandbox.fault("/inspections", delay=0.5)
    browsers = [visit(alice) for _ in range(6)]

    def look(browser: Visitor) -> str:
        try:
            return part(browser, connection, panel)
        finally:
            database.close()

    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(look, browsers))
    assert len(sandbox.calls("/inspections")) == 1
    assert sum("12 Harbour Street" in page for page in seen) >= 1
    assert all("12 Harbour Street" in page or "Loading from SnapInspect" in page for page in seen)


def test_each_customer_sees_its_own_rows_of_the_same_panel(
    sandbox: Sandbox, visit: Visit, alice: User, charlie: User, connection: Connection
) -> None:
    panel = define()
    other = quick_connect(charlie.customers.get(), sandbox, by=charlie, account=OTHER)

    for _ in range(2):
        assert "Harbour Street" in part(visit(alice), connection, panel)
        his = part(visit(charlie), other, panel)
        assert "Meadow Row" in his and "Harbour" not in his
    mixed = f"/c/{other.customer.code}/connections/{connection.code}/panels/{panel.code}/"
    assert visit(charlie).get(mixed).status_code == 404


def test_disconnecting_deletes_what_panels_showed(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    panel = define()
    for each in (panel, Panel.built_in()):
        part(visit(alice), connection, each)
    kept = PanelAnswer.objects.get(panel=panel)
    table = kept.table
    assert table is not None
    visit(alice).post(f"/c/{connection.customer.code}/connections/{connection.code}/disconnect/")

    assert not PanelAnswer.objects.exists()
    kept.keep(table, seconds=60)  # the answer of somebody who was asking meanwhile
    assert not PanelAnswer.objects.exists()
    page = part(visit(alice), connection, panel)
    assert "Harbour Street" not in page and not PanelAnswer.objects.exists()


def test_what_nobody_has_looked_at_for_a_week_is_deleted(visit: Visit, alice: User, connection: Connection) -> None:
    part(visit(alice), connection, define())
    PanelAnswer.objects.update(next_ask_at=Now() - PanelAnswer.KEPT + timedelta(minutes=5))
    jobs.sweep()
    assert PanelAnswer.objects.count() == 1
    PanelAnswer.objects.update(next_ask_at=Now() - PanelAnswer.KEPT)
    jobs.sweep()
    assert PanelAnswer.objects.count() == 0


def test_only_the_cells_are_kept_not_the_answer(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    answers(sandbox, "/people", [{"name": "Ann", "born": "1970-01-01"}])
    part(visit(alice), connection, define("people", rows_at="", columns="Name: name"))

    assert "Ann" in str(PanelAnswer.objects.values())
    assert "1970" not in str(PanelAnswer.objects.values())


def test_the_dashboards_queries_do_not_grow_with_the_panels(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    browser = visit(alice)
    browser.get(f"/c/{acme.code}/")
    counts = []
    for number in (1, 9):
        for _ in range(number):
            define()
        with CaptureQueriesContext(database) as queries:
            browser.get(f"/c/{acme.code}/")
        counts.append(len(queries))
    assert counts[0] == counts[1]

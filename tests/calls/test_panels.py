"""Panels: what the operator defines is what each customer sees live, and nothing a remote answers breaks a page."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from accounts.models import Customer, User
from bench.management.commands import demo
from integrations.background import jobs
from integrations.calls import api_client, limits, panels, tables
from integrations.models import Connection, Panel, PanelAnswer, State
from tests.support.clients import OTHER, Sandbox, Visitor, audited, quick_connect, work
from tests.support.running_app import ROOT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def connection(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    connection = quick_connect(acme, sandbox, by=alice)
    sandbox.control("DELETE", "log")
    return connection


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_superuser("staff@example.com", "correct horse battery")


def define(path: str = "inspections", **fields: Any) -> Panel:
    told = {"title": "Inspections", "rows_at": "inspections", "columns": "Title: sTitle", "is_active": True}
    return Panel.objects.create(path=path, **(told | fields))


def answers(sandbox: Sandbox, path: str, document: Any, **options: Any) -> None:
    """Has the stand-in answer this at the path; bytes go as they are, anything else as JSON."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    sandbox.fault(path, "raw", body_base64=base64.b64encode(body).decode(), times=None, **options)


def address(connection: Connection, panel: Panel) -> str:
    return f"/c/{connection.customer.code}/connections/{connection.code}/panels/{panel.code}/"


def part(browser: Visitor, connection: Connection, panel: Panel) -> str:
    """What htmx puts into the dashboard."""
    answer = browser.get(address(connection, panel), headers={"HX-Request": "true"})
    assert answer.status_code == 200
    return str(answer.text)


def grow_old(**answer: Any) -> None:
    """The refresh time of what is kept has passed."""
    PanelAnswer.objects.filter(**answer).update(next_ask_at=Now())


# --- What is shown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Flat 2", ("text", "Flat 2")),
        ("", ("text", "")),
        (7, ("number", "7")),
        (1.5, ("number", "1.5")),
        (True, ("yes", "")),
        (False, ("no", "")),
        (None, ("none", "")),
        ("2026-11-24T10:00:00Z", ("time", "2026-11-24T10:00:00Z")),
        ("2026-11-24T10:00:00.123456+13:00", ("time", "2026-11-24T10:00:00.123456+13:00")),
        # Without an offset it is not a moment; nor is what only looks like one, or no calendar can hold.
        ("2026-11-24T10:00:00", ("text", "2026-11-24T10:00:00")),
        ("2026-11-24", ("text", "2026-11-24")),
        ("2026-13-99T10:00:00Z", ("text", "2026-13-99T10:00:00Z")),
        ("0001-01-01T00:00:00+14:00", ("text", "0001-01-01T00:00:00+14:00")),
        ({"a": [1, None]}, ("json", '{"a":[1,null]}')),
        ([], ("json", "[]")),
        ("x" * 300, ("text", "x" * 199 + "…")),
        (10**99, ("number", "1" + "0" * 99)),
    ],
)
def test_each_kind_of_value_is_shown_as_people_read_it(value: Any, shown: tuple[str, str]) -> None:
    assert tables.to_cell(value) == shown


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("", ()),
        (".", ()),
        ("a", ("a",)),
        ("data.items.0", ("data", "items", "0")),
        (r"a\.b.c", ("a.b", "c")),
        ("Größe", ("Größe",)),
    ],
)
def test_a_dotted_path_is_names_with_dots_between_them(path: str, steps: tuple[str, ...]) -> None:
    assert tables.parse_path(path) == steps


def test_rows_are_found_and_shown_by_dotted_paths_and_what_a_row_lacks_is_a_dash() -> None:
    answer: Any = {"data": {"items": [{"n": {"v": [1, 2]}}, {"n": None}, {}, "odd", ["first"]]}}
    table = tables.build_table(answer, rows_at="data.items", shown=tables.parse_columns("V: n.v.1\nFirst: 0\nAll: ."))

    assert [row[0].text for row in table.rows] == ["2", "", "", "", ""]
    assert [row[1].text for row in table.rows] == ["", "", "", "", "first"]
    assert table.rows[3][2] == ("text", "odd")
    assert table.notes == []


def test_a_column_that_no_row_holds_is_named_to_staff_with_what_there_is_instead() -> None:
    table = tables.build_table([{"sTitle": "a"}], rows_at="", shown=tables.parse_columns("Name: sName"))
    assert table.notes == ["No row holds “sName” (column Name); the first row is an object with “sTitle”."]


def test_the_built_in_panel_shows_whose_account_it_is(visit: Visit, victor: User, connection: Connection) -> None:
    page = part(visit(victor), connection, Panel.built_in())

    for words in ("Pat Harbour", "pat@harbour.example", "6847", "Everything SnapInspect answered"):
        assert words in page


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

    assert "50 of 312 are shown." in page
    assert page.count("<tr>") == 51


def test_an_empty_list_says_so(sandbox: Sandbox, visit: Visit, alice: User, connection: Connection) -> None:
    answers(sandbox, "/none", {"rows": []})
    assert "There are none" in part(visit(alice), connection, define("none", rows_at="rows"))


# --- How often SnapInspect is asked ----------------------------------------------------------------------------------


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
    assert all("12 Harbour Street" in page or "being asked" in page for page in seen)


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


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "PERSON_WAITS_SECONDS", 0.3)


@pytest.fixture
def hanging(sandbox: Sandbox) -> Iterator[None]:
    """SnapInspect hangs at /slow until the test is over."""
    sandbox.fault("/slow", "hang", times=None)
    yield
    sandbox.clear_faults()


def test_ten_panels_of_which_one_hangs_show_nine(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection, hanging: None
) -> None:
    slow = define("slow", title="Slow")
    quick = [define("inspections", title=f"Quick {number}") for number in range(9)]
    browsers = {panel.pk: visit(alice) for panel in (slow, *quick)}

    def load(panel: Panel) -> str:
        """Like the page: looks again while it is told that somebody is being asked."""
        try:
            page = ""

            def is_there() -> bool:
                nonlocal page
                page = part(browsers[panel.pk], connection, panel)
                return "being asked" not in page

            wait_until(is_there)
            return page
        finally:
            database.close()

    with ThreadPoolExecutor(10) as pool:
        waiting = pool.submit(load, slow)
        shown = list(pool.map(load, quick))
        assert all("12 Harbour Street" in page for page in shown)
        assert not waiting.done(), "the nine had to wait for the one that hangs"
        sandbox.clear_faults()
        assert "SnapInspect" in waiting.result()


def test_calls_that_hang_leave_places_for_other_connections_and_threads_for_other_pages(
    sandbox: Sandbox, visit: Visit, alice: User, charlie: User, connection: Connection, hanging: None
) -> None:
    other = quick_connect(charlie.customers.get(), sandbox, by=charlie, account=OTHER)
    slow = [define("slow", title=f"Slow {number}") for number in range(limits.MAX_CALLS_PER_CONNECTION)]
    browsers = [visit(alice) for _ in slow]

    def load(browser: Visitor, panel: Panel) -> str:
        try:
            return part(browser, connection, panel)
        finally:
            database.close()

    with ThreadPoolExecutor(len(slow)) as pool:
        held = [pool.submit(load, browser, panel) for browser, panel in zip(browsers, slow, strict=True)]
        wait_until(lambda: len(sandbox.calls("/slow")) == len(slow))
        quick = define()
        assert "being asked" in part(visit(alice), connection, quick), "at once, without a place"
        assert "Meadow Row" in part(visit(charlie), other, quick)
        sandbox.clear_faults()
        assert all("SnapInspect" in one.result() for one in held)
    assert "12 Harbour Street" in part(visit(alice), connection, quick), "the place was given back"


# --- When it does not answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 503, 429])
def test_the_last_good_answer_stays_with_its_age_while_snapinspect_is_down(
    status: int, sandbox: Sandbox, visit: Visit, alice: User, connection: Connection, impatient: None
) -> None:
    panel = define()
    part(visit(alice), connection, panel)
    sandbox.fault("/inspections", "status", status=status, times=None)
    grow_old()
    page = part(visit(alice), connection, panel)

    assert "12 Harbour Street" in page and "This is what it said before." in page and "<time datetime=" in page
    sandbox.control("DELETE", "log")
    part(visit(alice), connection, panel)
    assert sandbox.calls("/inspections") == [], "it is left alone for a while"

    sandbox.clear_faults()
    grow_old()
    assert "said before" not in part(visit(alice), connection, panel)


def test_what_snapinspect_says_no_to_is_not_shown_any_longer(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    panel = define()
    part(visit(alice), connection, panel)
    sandbox.fault("/inspections", "status", status=403, times=None)
    grow_old()

    page = part(visit(alice), connection, panel)
    assert "does not allow" in page and "Harbour" not in page
    assert PanelAnswer.objects.get(panel=panel).table is None


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "404": ({"kind": "status", "status": 404}, "does not offer this", "not_found, HTTP 404"),
    "403": ({"kind": "status", "status": 403}, "does not allow", "forbidden, HTTP 403"),
    "500": ({"kind": "status", "status": 500}, "an error of its own", "server_error, HTTP 500"),
    "html": ({"kind": "html"}, "not JSON", "not_json"),
    "redirect": ({"kind": "redirect"}, "never followed", "redirect, HTTP 302"),
    "closed": ({"kind": "close"}, "broke off", "cut"),
    "slow": ({"kind": "hang"}, "did not answer in time", "timeout"),
    "huge": ({"kind": "bomb"}, "too large", "too_large"),
    "an object": (
        {"document": {"inspections": {"a": 1}}},
        "something else",
        "At “inspections” is an object with “a”; a list of rows was expected.",
    ),
    "no such member": (
        {"document": {"items": []}},
        "something else",
        "“inspections” ends at “inspections”: what stands before it is an object with “items”.",
    ),
    "a number": ({"document": 7}, "something else", "what stands before it is a number."),
    "null": ({"document": None}, "something else", "what stands before it is null."),
    "NaN": ({"document": b'{"inspections": [NaN]}'}, "not JSON", "not_json"),
    "surrogate": ({"document": b'{"inspections": [{"sTitle": "\\ud800"}]}'}, "not readable text", "not_text"),
    "NUL": ({"document": b'{"inspections": [{"sTitle": "a\\u0000"}]}'}, "not readable text", "not_text"),
    "deep": ({"document": b"[" * 5000 + b"]" * 5000}, "not JSON", "not_json"),
    "not UTF-8": ({"document": b'{"inspections": ["\xff"]}'}, "not readable text", "not_text"),
    "nothing": ({"document": b""}, "not JSON", "not_json"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_panel_says_so_plainly_to_people_and_precisely_to_staff(
    name: str, sandbox: Sandbox, visit: Visit, alice: User, connection: Connection, request: pytest.FixtureRequest
) -> None:
    fault, plain, precise = BROKEN[name]
    if name == "slow":  # the others answer, however slow the machine is
        request.getfixturevalue("impatient")
    panel = define()
    if "document" in fault:
        answers(sandbox, "/inspections", fault["document"])
    else:
        fault = dict(fault)
        sandbox.fault("/inspections", fault.pop("kind"), times=None, **fault)

    page = part(visit(alice), connection, panel)
    assert plain in page
    assert "For staff" not in page and "HTTP" not in page
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    page = part(visit(alice), connection, panel)
    assert plain in page and precise in page and "GET inspections" in page
    sandbox.clear_faults()
    assert "Pat Harbour" in part(visit(alice), connection, Panel.built_in())


@pytest.mark.parametrize(
    "fields", [{"path": "//evil.example/"}, {"columns": "nonsense"}, {"rows_at": "a..b"}, {"columns": ""}]
)
def test_a_definition_that_no_form_let_in_breaks_nothing(
    fields: dict[str, str], visit: Visit, alice: User, connection: Connection
) -> None:
    page = part(visit(alice), connection, define(**fields))
    assert "SnapInspect" in page or "path" in page


def test_a_refused_token_is_left_to_a_worker(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    panel = define()
    part(visit(alice), connection, panel)
    sandbox.control("POST", "revoke_all", {"kind": "access"})
    grow_old()

    page = part(visit(alice), connection, panel)
    assert "did not accept our access" in page and "12 Harbour Street" in page
    assert sandbox.exchanges() == 0
    work()
    grow_old()
    assert sandbox.exchanges() == 1
    assert "did not accept" not in part(visit(alice), connection, panel)


def test_a_connection_that_needs_a_person_shows_what_it_said_last_and_is_not_asked(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    panel = define()
    part(visit(alice), connection, panel)
    grow_old()
    Connection.objects.update(state=State.NEEDS_RECONNECT, error_kind="token_refused")
    sandbox.control("DELETE", "log")

    page = part(visit(alice), connection, panel)
    assert "12 Harbour Street" in page and "has to be reconnected" in page
    assert sandbox.calls() == []


# --- What is kept ----------------------------------------------------------------------------------------------------


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


# --- The operator's side ---------------------------------------------------------------------------------------------

FORM = {
    "title": "Latest",
    "path": "inspections?sort=newest",
    "rows_at": "inspections",
    "columns": "Inspection: sTitle\r\nState: sStatus",
    "refresh_seconds": "60",
    "position": "0",
    "is_active": "on",
}
ADD = "/admin/integrations/panel/add/"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("path", "//evil.example/user", "Only a path below"),
        ("path", "https://evil.example/user", "Only a path below"),
        ("path", "../user", "Only a path below"),
        ("path", "user\nHost: x", "Only a path below"),
        ("rows_at", "a..b", "a dot too many"),
        ("columns", "sTitle", "is not a column"),
        ("columns", ": sTitle", "is not a column"),
        ("columns", "Title: a..b", "a dot too many"),
        ("columns", "A: a\nA: b", "the same label"),
        ("columns", "\n".join(f"C{number}: c" for number in range(13)), "at most 12 columns"),
        ("columns", "x" * 61 + ": a", "longer than 60"),
        ("columns", " \n ", "This field is required"),
        ("refresh_seconds", "9", "greater than or equal to 10"),
        ("refresh_seconds", "9" * 30, "less than or equal to 86400"),
        ("position", "9" * 30, "less than or equal to"),
        ("title", "a\0b", "Null characters are not allowed"),
    ],
)
def test_the_admin_says_what_is_wrong_with_a_definition(
    field: str, value: str, said: str, visit: Visit, staff: User
) -> None:
    answer = visit(staff).post(ADD, FORM | {field: value})
    assert answer.status_code == 200 and said in answer.text
    assert not Panel.objects.exists()


def test_a_panel_is_saved_with_an_audit_entry_and_what_it_showed_before_goes(
    visit: Visit, staff: User, alice: User, connection: Connection
) -> None:
    browser = visit(staff)
    assert browser.post(ADD, FORM).status_code == 302
    panel = Panel.objects.get()
    assert "3 Quay Lane" in part(visit(alice), connection, panel)

    change = f"/admin/integrations/panel/{panel.pk}/change/"
    assert "Try it" in browser.get(change).text
    assert browser.post(change, FORM | {"columns": "Number: iInspectionID"}).status_code == 302
    page = part(visit(alice), connection, panel)
    assert "1388562" in page and "Quay Lane" not in page
    assert audited("panel.saved") == 2
    assert browser.post(f"/admin/integrations/panel/{panel.pk}/delete/", {"post": "yes"}).status_code == 302
    assert audited("panel.deleted") == 1 and not PanelAnswer.objects.exclude(panel=None).exists()


def test_try_it_shows_the_panel_with_a_connection_of_ones_choice_and_keeps_nothing(
    sandbox: Sandbox, visit: Visit, staff: User, connection: Connection
) -> None:
    panel = define(is_active=False)
    where = f"/admin/integrations/panel/{panel.pk}/try/"
    browser = visit(staff)

    assert "Nothing is kept" in browser.get(where).text
    for name in (connection.code, connection.company_id):
        assert "12 Harbour Street" in browser.post(where, {"connection": name}).text
    assert not PanelAnswer.objects.filter(panel=panel).exists()
    assert audited("panel.tried_by_staff") == 2
    Panel.objects.update(rows_at="nowhere")
    assert "“nowhere” ends at “nowhere”" in browser.post(where, {"connection": connection.code}).text
    for odd in ("", "x", "9" * 30, "a\0"):
        assert browser.post(where, {"connection": odd}).status_code == 200
    assert browser.get("/admin/integrations/panel/999999/try/").status_code == 404


def test_staff_without_the_permission_to_act_on_connections_cannot_try_a_panel(visit: Visit, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    assert visit(bob).get(f"/admin/integrations/panel/{define().pk}/try/").status_code == 403


def test_the_example_of_make_run_fits_the_stand_in_and_leaves_other_panels_alone(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    call_command("demo")
    call_command("demo")
    panel = Panel.objects.get()
    assert panels.fetch(panel, connection).notes == []
    assert panel.title == demo.PANEL["title"]
    assert "3 Quay Lane" in part(visit(alice), connection, panel)


def test_the_example_of_the_documents_shows_what_they_say(
    sandbox: Sandbox, visit: Visit, staff: User, alice: User, connection: Connection
) -> None:
    document = (ROOT / "docs/panels.md").read_text()
    blocks = dict(re.findall(r"```(json|text)\n(.*?)```", document, re.DOTALL))
    rows = re.findall(r"^\| (.*) \|$", document.partition("every customer sees")[2], re.MULTILINE)
    expected = [row.split(" | ") for row in rows]
    answers(sandbox, "/jobs/open", blocks["json"].encode())
    form = FORM | {"path": "jobs/open", "rows_at": "result.jobs", "columns": blocks["text"]}
    assert visit(staff).post(ADD, form).status_code == 302

    page = part(visit(alice), connection, Panel.objects.get())
    cells = [re.sub(r"<[^>]*>|nothing", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", page, re.DOTALL)]
    assert cells == [cell for row in expected for cell in row]

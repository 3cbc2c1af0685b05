"""A panel whose path fails, hangs or answers nonsense says so, and affects no other panel or page."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection as database

from accounts.models import User
from integrations.calls import limits
from integrations.models import Connection, Panel, PanelAnswer, State
from integrations.snapinspect import client
from tests.support.clients import OTHER, Sandbox, Visitor, quick_connect, work
from tests.support.panels import answers, define, grow_old, part
from tests.support.wait import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def hanging(sandbox: Sandbox) -> Iterator[None]:
    """SnapInspect hangs at /slow until the test is over."""
    sandbox.fault("/slow", "hang", times=None)
    yield
    sandbox.clear_faults()


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "404": ({"kind": "status", "status": 404}, "does not offer this", "not_found, HTTP 404"),
    "403": ({"kind": "status", "status": 403}, "does not allow", "forbidden, HTTP 403"),
    "500": ({"kind": "status", "status": 500}, "an internal error", "server_error, HTTP 500"),
    "html": ({"kind": "html"}, "not JSON", "not_json"),
    "redirect": ({"kind": "redirect"}, "do not follow redirects", "redirect, HTTP 302"),
    "closed": ({"kind": "close"}, "broke before", "cut"),
    "slow": ({"kind": "hang"}, "did not answer in time", "timeout"),
    "huge": ({"kind": "bomb"}, "too large", "too_large"),
    "an object": (
        {"document": {"inspections": {"a": 1}}},
        "that this panel cannot show",
        "At “inspections” is an object with “a”; a list of rows was expected.",
    ),
    "no such member": (
        {"document": {"items": []}},
        "that this panel cannot show",
        "“inspections” ends at “inspections”: what stands before it is an object with “items”.",
    ),
    "a number": ({"document": 7}, "that this panel cannot show", "what stands before it is a number."),
    "null": ({"document": None}, "that this panel cannot show", "what stands before it is null."),
    "deep": ({"document": b"[" * 5000 + b"]" * 5000}, "not JSON", "not_json"),
    "nothing": ({"document": b""}, "not JSON", "not_json"),
}


def test_ten_panels_of_which_one_hangs_show_nine(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection, hanging: None
) -> None:
    slow = define("slow", title="Slow")
    quick = [define("inspections", title=f"Quick {number}") for number in range(9)]
    browsers = {panel.pk: visit(alice) for panel in (slow, *quick)}

    def load(panel: Panel) -> str:
        """Like the page: looks again while it is told that somebody is Loading from SnapInspect."""
        try:
            page = ""

            def is_there() -> bool:
                nonlocal page
                page = part(browsers[panel.pk], connection, panel)
                return "Loading from SnapInspect" not in page

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
        assert "Loading from SnapInspect" in part(visit(alice), connection, quick), "at once, without a place"
        assert "Meadow Row" in part(visit(charlie), other, quick)
        sandbox.clear_faults()
        assert all("SnapInspect" in one.result() for one in held)
    assert "12 Harbour Street" in part(visit(alice), connection, quick), "the place was given back"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_the_last_good_answer_stays_with_its_age_while_snapinspect_is_down(
    status: int, sandbox: Sandbox, visit: Visit, alice: User, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_SHORTEST_PAUSE", 0.0)
    panel = define()
    part(visit(alice), connection, panel)
    sandbox.fault("/inspections", "status", status=status, times=None)
    grow_old()
    page = part(visit(alice), connection, panel)

    assert "12 Harbour Street" in page and "Here is the last known content." in page and "<time datetime=" in page
    sandbox.control("DELETE", "log")
    part(visit(alice), connection, panel)
    assert sandbox.calls("/inspections") == [], "it is left alone for a while"

    sandbox.clear_faults()
    grow_old()
    assert "last known content" not in part(visit(alice), connection, panel)


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
    assert "12 Harbour Street" in page and "Reconnect this account" in page
    assert sandbox.calls() == []

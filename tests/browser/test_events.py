"""The events pages in a real Chromium: replay without JavaScript, and lists that change without disturbing anybody."""

# Fixtures come by name.
# ruff: noqa: F401, F811

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Customer, User
from integrations.models import Connection, Event, Replay, State
from tests.browser.test_main_path import CHROMIUM
from tests.browser.test_screens import chromium, listen, playwright, sign_in
from tests.support.clients import work
from tests.support.many_events import LAST, make_events

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]

VISIBILITY = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  let asked = false;
  document.addEventListener("htmx:beforeSend", () => (asked = true));
  document.dispatchEvent(new Event("visibilitychange"));
  return asked;
}"""


@pytest.fixture
def connection(acme: Customer) -> Connection:
    return Connection.objects.create(customer=acme, state=State.CONNECTED, company_id="6847")


@pytest.fixture
def app(live_server: LiveServer, settings: Settings) -> str:
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.SNAPINSPECT_INSPECTION_PATH = ""
    return f"http://localhost:{urlsplit(live_server.url).port}"


@pytest.fixture
def page(chromium: Browser, alice: User, app: str) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1100, "height": 600})
    sign_in(context, alice, app)
    page = context.new_page()
    complaints = listen(page)
    yield page
    context.close()
    assert complaints == []


@pytest.mark.slow
def test_many_events_are_filtered_and_replayed_without_javascript(
    chromium: Browser, alice: User, acme: Customer, connection: Connection, app: str
) -> None:
    make_events(connection, 143, state=Event.State.FAILED)
    make_events(connection, 3)
    context = chromium.new_context(java_script_enabled=False)
    sign_in(context, alice, app)
    page = context.new_page()

    page.goto(f"{app}/c/{acme.code}/events/")
    page.get_by_label("State").select_option("Failed")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="Replay these").click()
    expect(page.get_by_text("143 failed events match. Replay?")).to_be_visible()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("0 of 143 events checked.")).to_be_visible()
    for _ in range(3):
        work()
    page.reload()
    expect(page.get_by_text("143 events replayed.")).to_be_visible()
    assert not Replay.objects.running().exists()

    page.get_by_role("link", name="All events").click()
    page.get_by_role("link", name="Inspection uploaded").first.click()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("Replay started.")).to_be_visible()
    context.close()


@pytest.mark.slow
def test_new_events_move_neither_what_is_read_nor_the_focus(
    page: Page, acme: Customer, connection: Connection, app: str
) -> None:
    events = make_events(connection, 40)
    page.goto(f"{app}/c/{acme.code}/events/")
    read = page.locator(f"#event-{events[10].code}")
    read.focus()
    read.evaluate("element => element.scrollIntoView({ behavior: 'instant' })")
    page.evaluate("window.scrollBy({ top: 40, behavior: 'instant' })")
    before = read.bounding_box()

    (new,) = make_events(connection, 1, received_at=LAST + timedelta(hours=1))
    expect(page.locator(f"#event-{new.code}")).to_be_attached()

    after = read.bounding_box()
    assert before and after
    assert abs(before["y"] - after["y"]) < 2
    expect(read).to_be_focused()


def test_a_hidden_page_asks_for_nothing_and_looks_at_once_when_it_is_seen_again(
    page: Page, acme: Customer, connection: Connection, app: str
) -> None:
    page.goto(f"{app}/c/{acme.code}/events/")
    expect(page.get_by_text("No events yet")).to_be_visible()

    assert page.evaluate(VISIBILITY, True) is False
    make_events(connection, 1)
    assert page.evaluate(VISIBILITY, False) is True
    expect(page.get_by_role("link", name="Inspection uploaded")).to_be_visible()


@pytest.mark.slow
def test_a_list_that_cannot_be_brought_up_to_date_says_so_and_recovers(
    page: Page, acme: Customer, connection: Connection, app: str
) -> None:
    make_events(connection, 1)
    page.goto(f"{app}/c/{acme.code}/events/")
    trouble = page.get_by_text("This list cannot be updated right now.")
    expect(trouble).to_be_hidden()

    # What htmx says when no connection can be made; a real refusal would also be written to the console.
    fails = "new CustomEvent('htmx:sendError', { bubbles: true })"
    page.evaluate(f"document.querySelector('[data-live]').dispatchEvent({fails})")
    expect(trouble).to_be_visible()
    expect(trouble).to_be_hidden()
    expect(page.get_by_role("link", name="Inspection uploaded")).to_be_visible()

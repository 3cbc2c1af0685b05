"""What pages say about a state is true, and stays true while they are open, in a real Chromium."""

# Fixtures come by name.
# ruff: noqa: F401, F811

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from django.db.models.functions import Now
from playwright.sync_api import BrowserContext, Page, Route, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Customer, User
from integrations.models import ConnectionTest, Event, State, TokenPair
from tests.browser.pages import listen_to
from tests.browser.screens import Scene
from tests.browser.test_main_path import CHROMIUM
from tests.browser.test_screens import chromium, context, listen, playwright, profile, scene, sign_in
from tests.support.clients import COMPANY_OF_PAT, Sandbox, Visitor, badge, work
from tests.support.many_events import make_events

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]
Visit = Callable[[User], Visitor]


@pytest.fixture
def app(live_server: LiveServer, settings: Settings) -> str:
    settings.ALLOWED_HOSTS = ["localhost"]
    return f"http://localhost:{urlsplit(live_server.url).port}"


@pytest.fixture
def page_of_alice(context: BrowserContext, scene: Scene, app: str) -> Iterator[Callable[[str], Page]]:
    """Opens a page of Acme's in a tab of its own; nothing may be written to any console."""
    sign_in(context, scene.alice, app)
    complaints: list[list[str]] = []

    def opened(path: str = "") -> Page:
        page = context.new_page()
        complaints.append(listen_to(page))
        page.goto(f"{app}/c/{scene.acme.code}/{path}")
        return page

    yield opened
    assert not any(complaints), complaints


def test_every_page_follows_the_states_it_shows_at_any_number_of_connections(
    page_of_alice: Callable[[str], Page], scene: Scene, visit: Visit, sandbox: Sandbox
) -> None:
    for number in range(3):
        scene.connection(str(8000 + number), f"Harbour {number}")
    browser = visit(scene.alice)
    browser.open_callback(sandbox.decide(browser.start_connect(scene.acme)))
    new = scene.acme.connections.latest("pk")
    (event,) = make_events(new, 1)
    where = f"connections/{new.code}/"
    pages = [page_of_alice(path) for path in ("", "connections/", where, f"{where}settings/", f"{where}activity/")]
    for page in pages:
        expect(page.locator("[data-badge]", has_text="Connecting")).to_have_count(1)
    settings_name = pages[3].get_by_role("textbox", name="Name")
    settings_name.fill("Half a na")

    work()
    for page in pages:
        expect(page.locator("[data-badge]", has_text="Connecting")).to_have_count(0)
        expect(page.get_by_text(f"Connected to company {COMPANY_OF_PAT}").first).to_be_visible()
    expect(settings_name).to_have_value("Half a na")

    others = [page_of_alice("events/"), page_of_alice(f"events/{event.code}/")]
    new.refresh_from_db()
    new.move_to(State.NEEDS_RECONNECT)
    for page in [*pages, *others]:
        expect(page.locator("#attention").get_by_text("needs your attention")).to_be_visible()
    for page in pages:
        expect(page.locator("[data-badge]", has_text="Needs reconnect")).to_have_count(1)

    Event.objects.filter(pk=event.pk).update(state=Event.State.FAILED)
    for page in others:
        expect(page.locator("[data-badge]")).to_have_text("Failed")


def test_a_connect_that_ends_just_before_a_page_loads_itself_is_told(
    page_of_alice: Callable[[str], Page], scene: Scene, visit: Visit, sandbox: Sandbox
) -> None:
    browser = visit(scene.alice)
    browser.open_callback(sandbox.decide(browser.start_connect(scene.acme)))
    page = page_of_alice("connections/")
    expect(page.locator("[data-badge]", has_text="Connecting")).to_have_count(1)

    def ends_first(route: Route) -> None:
        work()
        route.continue_()

    page.route("**/connections/", ends_first)
    # A step of the connect, which the page shows.
    TokenPair.objects.candidates().update(proved_at=Now())
    expect(page.get_by_text(f"Connected to company {COMPANY_OF_PAT}")).to_be_visible()
    expect(page.locator("[data-badge]", has_text="Connected")).to_have_count(1)


def test_a_test_during_an_outage_says_that_it_waits_and_comes_back_to_a_page_that_follows_the_result(
    page_of_alice: Callable[[str], Page], scene: Scene, visit: Visit, sandbox: Sandbox
) -> None:
    connection = visit(scene.alice).connect(scene.acme, sandbox)
    page = page_of_alice(f"connections/{connection.code}/")
    sandbox.fault("/user", "hang", times=None)
    button = page.get_by_role("button", name="Test connection")
    began = time.monotonic()
    # Playwright itself would wait for the next page.
    waiting = button.evaluate(
        "button => { button.click(); button.click(); return [button.ariaBusy, button.form.textContent] }"
    )
    assert waiting[0] == "true"
    assert "Please wait…" in waiting[1]
    page.wait_for_url("**/checks/*/", wait_until="commit")
    assert time.monotonic() - began < 12.0, "a call that nobody hurries is given up after 15 s"
    expect(page.get_by_text("SnapInspect has not answered yet.")).to_be_visible()
    assert badge(connection) == "Connected", "that it is slow proves nothing"
    assert ConnectionTest.objects.count() == 1

    sandbox.clear_faults()
    work()
    expect(page.get_by_text("The connection works")).to_be_visible()
    expect(page.get_by_text("Pat Harbour").first).to_be_visible()


@pytest.mark.slow
def test_reloading_the_page_that_shows_a_new_key_makes_no_second_one(
    page_of_alice: Callable[[str], Page], scene: Scene
) -> None:
    page = page_of_alice("api-keys/")
    page.get_by_label("Name").fill("Back office")
    page.get_by_label("events:read").check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_text("Your new key")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Your new key")).to_have_count(0)
    assert scene.acme.api_keys.count() == 1

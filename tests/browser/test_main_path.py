"""The main job in a real Chromium, against the processes that `make run` starts. Pictures land in var/screenshots/."""

import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.browser.pages import listen_to, reload_until
from tests.support.clients import COMPANY_OF_PAT
from tests.support.measurements import record
from tests.support.running_app import ROOT, RunningApp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]
Scheme = Literal["light", "dark"]
PICTURES = ROOT / "var" / "screenshots"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
    yield browser
    browser.close()


@pytest.fixture(params=["light", pytest.param("dark", marks=pytest.mark.slow)])
def scheme(request: pytest.FixtureRequest) -> Scheme:
    return cast(Scheme, request.param)


@pytest.fixture
def context(chromium: Browser, scheme: Scheme) -> Iterator[BrowserContext]:
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 1100, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that fails its test when anything is written to the console, CSP refusals included."""
    page = context.new_page()
    complaints = listen_to(page)
    yield page
    assert complaints == []


def sign_up(page: Page, running_app: RunningApp, company: str = "Harbour PM") -> str:
    """Returns the address of the new person, whom nobody else in this run is called."""
    email = f"{secrets.token_hex(8)}@example.com"
    page.goto(running_app.url)
    page.get_by_role("link", name="Sign up").click()
    page.get_by_label("Company name").fill(company)
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("button", name="Connect with SnapInspect")).to_be_visible()
    return email


def picture(page: Page, name: str, scheme: Scheme) -> None:
    """A full picture at this width and one at 320 px; no sideways scroll, nothing serious for axe to say."""
    page.screenshot(path=PICTURES / f"{name}-{scheme}.png", full_page=True)
    wide = page.viewport_size
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320, f"{name} scrolls sideways"
    page.screenshot(path=PICTURES / f"{name}-{scheme}-320.png", full_page=True)
    assert wide is not None
    page.set_viewport_size(wide)
    found = Axe().run(page).response["violations"]
    assert [item["id"] for item in found if item["impact"] in {"serious", "critical"}] == []


def badge(page: Page, word: str) -> None:
    expect(page.locator("[data-badge]")).to_have_text(word)


@pytest.mark.parametrize("same_site", ["Lax", "Strict"])
def test_H3_the_session_comes_along_on_the_way_back_from_snapinspect_and_would_not_if_it_were_strict(
    same_site: Literal["Lax", "Strict"], chromium: Browser, running_app: RunningApp
) -> None:
    """The stand-in is another site than the app, in a browser's eyes: 127.0.0.1 and localhost."""
    context = chromium.new_context()
    page = context.new_page()
    sign_up(page, running_app)
    page.get_by_role("button", name="Connect with SnapInspect").click()
    (session,) = [cookie for cookie in context.cookies() if cookie["name"] == "sessionid"]
    assert (session["sameSite"], session["httpOnly"]) == ("Lax", True)
    context.add_cookies(
        [{"name": "sessionid", "value": session["value"], "domain": "localhost", "path": "/", "httpOnly": True,
          "sameSite": same_site}]
    )  # fmt: skip
    page.get_by_role("button", name="Allow").click()
    expect(page).to_have_url(re.compile(rf"^{running_app.url}(?!connect/callback/)"))
    arrived = re.fullmatch(rf"{running_app.url}c/\w+/", page.url) is not None
    context.close()

    record("H3", f"a real return from another site, cookies {same_site}", "signed in" if arrived else "not signed in")
    assert arrived == (same_site == "Lax")


def test_sign_up_connect_allow_and_see_live_data_with_a_clean_address(
    page: Page, running_app: RunningApp, scheme: Scheme, context: BrowserContext
) -> None:
    sign_up(page, running_app)
    picture(page, "1-first-page", scheme)
    page.get_by_role("button", name="Connect with SnapInspect").click()
    expect(page.get_by_role("button", name="Allow")).to_be_visible()
    assert page.url.startswith(running_app.sandbox.url)
    page.screenshot(path=PICTURES / f"2-consent-{scheme}.png")
    running_app.sandbox.fault("/user", delay=1.0, times=1)
    page.get_by_role("button", name="Allow").click()

    expect(page).to_have_url(re.compile(rf"^{running_app.url}c/\w+/$"))
    # Only a look: it reloads by itself at any moment. tests/browser/test_screens.py has one that stands still.
    page.screenshot(path=PICTURES / f"3-connecting-{scheme}.png", full_page=True)
    badge(page, "Connected")
    expect(page.get_by_text("pat@harbour.example").first).to_be_visible()
    picture(page, "4-connected", scheme)

    visited = [page.url]
    for _ in range(6):
        page.go_back()
        visited.append(page.url)
    assert not [url for url in visited if "token=" in url or urlsplit(url).path == "/connect/callback/"]


@pytest.mark.slow
def test_test_connection_shows_what_snapinspect_answered_on_a_page_that_reloads(
    page: Page, running_app: RunningApp, scheme: Scheme
) -> None:
    sign_up(page, running_app)
    page.get_by_role("button", name="Connect with SnapInspect").click()
    page.get_by_role("button", name="Allow").click()
    badge(page, "Connected")

    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text("Pat Harbour").first).to_be_visible()
    expect(page.get_by_text(COMPANY_OF_PAT).first).to_be_visible()
    picture(page, "5-test", scheme)
    page.reload()
    expect(page.get_by_text("Pat Harbour").first).to_be_visible()


@pytest.mark.slow
def test_denying_saves_nothing_and_says_so(page: Page, running_app: RunningApp, scheme: Scheme) -> None:
    sign_up(page, running_app)
    page.get_by_role("button", name="Connect with SnapInspect").click()
    page.get_by_role("button", name="Deny").click()

    expect(page.get_by_text("You did not allow access. Nothing was saved")).to_be_visible()
    assert re.fullmatch(rf"{running_app.url}c/\w+/", page.url)
    expect(page.locator("[data-badge]")).to_have_count(0)
    picture(page, "6-denied", scheme)


@pytest.mark.slow
def test_disconnecting_asks_once_and_says_what_was_done(page: Page, running_app: RunningApp, scheme: Scheme) -> None:
    sign_up(page, running_app)
    page.get_by_role("button", name="Connect with SnapInspect").click()
    page.get_by_role("button", name="Allow").click()
    badge(page, "Connected")

    page.get_by_role("button", name="Disconnect").click()
    picture(page, "7-disconnect", scheme)
    page.get_by_role("button", name="Disconnect").click()

    badge(page, "Disconnected")
    picture(page, "8-disconnected", scheme)


@pytest.mark.slow
def test_trouble_says_that_nothing_is_lost_and_ends_by_itself(
    page: Page, running_app: RunningApp, scheme: Scheme
) -> None:
    running_app.sandbox.fault("/user", "status", status=503, times=None)
    sign_up(page, running_app)
    page.get_by_role("button", name="Connect with SnapInspect").click()
    page.get_by_role("button", name="Allow").click()
    badge(page, "Having trouble")
    expect(page.get_by_text("Nothing is lost").first).to_be_visible()
    picture(page, "9-trouble", scheme)

    running_app.sandbox.clear_faults()
    badge(page, "Connected")


def test_everything_works_without_javascript(chromium: Browser, running_app: RunningApp) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_up(page, running_app)
    page.get_by_role("button", name="Connect with SnapInspect").click()
    page.get_by_role("button", name="Allow").click()
    reload_until(page, "Connected")

    page.get_by_role("link", name="Show SnapInspect account").click()
    expect(page.get_by_text("pat@harbour.example").first).to_be_visible()
    page.get_by_role("link", name="Back to").click()
    page.get_by_role("button", name="Disconnect").click()
    page.get_by_role("button", name="Disconnect").click()
    badge(page, "Disconnected")
    context.close()


@pytest.mark.slow
def test_the_history_on_disk_keeps_no_token_that_still_works(
    playwright: Playwright, running_app: RunningApp, tmp_path: Path
) -> None:
    context = playwright.chromium.launch_persistent_context(tmp_path / "profile", executable_path=CHROMIUM, args=QUIET)
    page = context.pages[0]
    sign_up(page, running_app)
    page.get_by_role("button", name="Connect with SnapInspect").click()
    page.get_by_role("button", name="Allow").click()
    badge(page, "Connected")
    context.close()
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "profile").rglob("*") if path.is_file())

    live = [token["token"] for token in running_app.sandbox.tokens() if token["live"]]
    assert live
    assert not [token for token in live if token.encode() in on_disk]


def test_an_upload_at_snapinspect_appears_on_the_open_events_page_by_itself(
    page: Page, running_app: RunningApp, scheme: Scheme, context: BrowserContext
) -> None:
    sign_up(page, running_app)
    page.get_by_role("button", name="Connect with SnapInspect").click()
    page.get_by_role("button", name="Allow").click()
    badge(page, "Connected")
    page.get_by_role("link", name="Events", exact=True).first.click()
    expect(page.get_by_text("No events yet")).to_be_visible()
    picture(page, "10-no-events", scheme)

    standin = context.new_page()
    standin.goto(f"{running_app.sandbox.url}sandbox/inspections")
    standin.get_by_label("Title").fill("Harbour Street 7")
    standin.get_by_role("button", name="Upload").first.click()

    expect(page.locator("[data-badge]").first).to_have_text("Done")
    picture(page, "11-events", scheme)
    page.get_by_role("link", name="Inspection uploaded").first.click()
    expect(page.get_by_text("Harbour Street 7").first).to_be_visible()
    picture(page, "12-event", scheme)


@pytest.mark.slow
def test_a_personal_access_token_connects(page: Page, running_app: RunningApp, scheme: Scheme) -> None:
    sign_up(page, running_app)
    page.get_by_role("button", name="Use a personal access token").click()
    picture(page, "13-personal-token", scheme)
    token = running_app.sandbox.control("POST", "personal", {"account": "601"})["token"]
    page.get_by_label("Personal access token").fill(token)
    page.get_by_role("button", name="Save token").click()

    badge(page, "Connected")
    page.get_by_role("link", name="Activity").click()
    expect(page.get_by_text("Entered a personal access token")).to_be_visible()
    picture(page, "14-activity", scheme)


@pytest.mark.slow
def test_who_is_invited_joins_by_the_mailed_link_and_switches_between_companies(
    page: Page, running_app: RunningApp, scheme: Scheme, chromium: Browser
) -> None:
    sign_up(page, running_app, "Harbour PM")
    at_home = chromium.new_context(color_scheme=scheme, viewport={"width": 1100, "height": 800})
    dora = at_home.new_page()
    address = sign_up(dora, running_app, "Dora's Flats")

    page.get_by_role("link", name="People").click()
    page.get_by_label("Email").fill(address)
    page.get_by_label("Role", exact=True).select_option("viewer")
    page.get_by_role("button", name="Send invitation").click()
    expect(page.get_by_text(f"We sent an invitation to {address}")).to_be_visible()

    # The app is shared: others are invited to it, too.
    (mail,) = [
        text for path in (running_app.folder / "mail").iterdir() if f"To: {address}" in (text := path.read_text())
    ]
    link = re.findall(r"http://\S+/accounts/invitations/\S+", mail)[0]  # the part in plain text comes first
    dora.goto(link)
    picture(dora, "15-invitation", scheme)
    dora.get_by_role("button", name="Join").click()

    expect(dora.get_by_text("You joined Harbour PM")).to_be_visible()
    expect(dora.get_by_role("button", name="Connect with SnapInspect")).to_have_count(0)
    dora.get_by_role("navigation", name="Companies").locator("summary").click()
    dora.get_by_role("link", name="Dora's Flats").click()
    expect(dora.get_by_role("button", name="Connect with SnapInspect")).to_be_visible()
    page.reload()
    expect(page.get_by_text(address).first).to_be_visible()
    expect(page.get_by_text("No pending invitations")).to_be_visible()
    at_home.close()

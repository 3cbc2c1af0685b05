"""The main job in a real Chromium for who has no mouse, needs large letters, or cannot tell colours apart."""

# Fixtures come by name.
# ruff: noqa: F401, F811

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.pages import reload_until
from tests.browser.test_main_path import CHROMIUM, badge, chromium, playwright, sign_up
from tests.support.clients import COMPANY_OF_PAT
from tests.support.running_app import RunningApp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]
MOST_STOPS = 60
IS_MARKED = """element => {
  const style = getComputedStyle(element);
  return element.matches(":focus-visible") && (style.outlineStyle !== "none" || style.boxShadow !== "none");
}"""


def press(page: Page, wanted: Locator, key: str = "Enter") -> None:
    """Walks there by the Tab key from the top of the page, sees the focus, and presses the key."""
    expect(wanted).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            assert wanted.evaluate(IS_MARKED), "nobody sees where the focus is"
            page.keyboard.press(key)
            return
    raise AssertionError(f"the Tab key does not lead to {wanted}")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name)


@pytest.fixture
def connected(chromium: Browser, running_app: RunningApp) -> Page:
    """The dashboard of somebody who has connected, without ever touching a mouse."""
    page = chromium.new_context(viewport={"width": 1100, "height": 800}).new_page()
    sign_up(page, running_app)
    press(page, button(page, "Connect with SnapInspect"))
    press(page, button(page, "Allow"))
    badge(page, "Connected")
    return page


def upload(page: Page, running_app: RunningApp) -> None:
    """An inspection is uploaded at SnapInspect; returns on the list of events when it was processed."""
    running_app.sandbox.control("POST", "inspections", {"company": int(COMPANY_OF_PAT), "title": "Harbour Street 7"})
    press(page, page.get_by_role("link", name="Events", exact=True).first)
    badge(page, "Done")


def test_connect_replay_and_disconnect_with_the_keyboard_alone(connected: Page, running_app: RunningApp) -> None:
    page = connected
    press(page, page.get_by_role("link", name="Skip to the content"))
    assert page.evaluate("document.activeElement.id") == "main"
    upload(page, running_app)
    press(page, page.get_by_role("link", name="Inspection uploaded"))
    press(page, button(page, "Replay"))
    expect(page.get_by_text("Replay started.")).to_be_visible()

    press(page, page.get_by_role("link", name="Dashboard"))
    press(page, button(page, "Disconnect"), "Space")
    expect(page.get_by_role("heading", name="Disconnect")).to_be_visible()
    press(page, button(page, "Disconnect"), "Space")
    badge(page, "Disconnected")
    page.context.close()


def test_at_200_percent_nothing_is_cut_off(connected: Page, running_app: RunningApp, chromium: Browser) -> None:
    upload(connected, running_app)
    state = connected.context.storage_state()
    addresses = [connected.url, connected.url.replace("events/", ""), connected.url.replace("events/", "connections/")]
    event = connected.get_by_role("link", name="Inspection uploaded").get_attribute("href") or ""
    connected.context.close()
    # A window of 1100 pixels at 200 % has room for 550, each drawn by two.
    enlarged = chromium.new_context(
        storage_state=state, viewport={"width": 550, "height": 400}, device_scale_factor=2
    ).new_page()
    for address in [*addresses, running_app.url.rstrip("/") + event]:
        enlarged.goto(address, wait_until="networkidle")
        assert enlarged.evaluate("document.documentElement.scrollWidth") <= 550, f"{address} scrolls sideways"
        for control in enlarged.get_by_role("main").get_by_role("button").all():
            box = control.bounding_box()
            assert box is None or box["x"] + box["width"] <= 550, f"{control} of {address} is out of sight"
    enlarged.context.close()


def test_a_state_is_told_by_a_word_and_an_icon_and_a_time_is_exact_on_hover(connected: Page) -> None:
    state = connected.locator("[data-badge]")
    assert (state.text_content() or "").strip() == "Connected"
    expect(state.locator("xpath=..").locator("svg")).to_be_visible()
    at = connected.locator("time[data-relative]").first
    expect(at).to_have_text("just now")
    expect(at).to_have_attribute("title", re.compile((at.get_attribute("datetime") or "?")[:4]))
    connected.context.close()


def test_one_banner_stands_on_every_page_while_a_connection_needs_a_person(
    connected: Page, running_app: RunningApp
) -> None:
    page = connected
    running_app.sandbox.control("POST", "revoke_all", {})
    button(page, "Test connection").click()
    page.get_by_role("link", name="Dashboard").click()
    badge(page, "Needs reconnect")
    for name in ("Dashboard", "Connections", "Events", "Developers", "People"):
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        expect(
            page.get_by_text("needs your attention. New inspections are stored and processed afterwards.")
        ).to_have_count(1)
        expect(page.get_by_role("link", name="Fix it")).to_be_in_viewport()
    page.context.close()


def test_connect_replay_and_disconnect_without_javascript(chromium: Browser, running_app: RunningApp) -> None:
    page = chromium.new_context(java_script_enabled=False).new_page()
    sign_up(page, running_app)
    button(page, "Connect with SnapInspect").click()
    button(page, "Allow").click()
    reload_until(page, "Connected")
    running_app.sandbox.control("POST", "inspections", {"company": int(COMPANY_OF_PAT), "title": "Harbour Street 7"})
    page.get_by_role("link", name="Events", exact=True).first.click()
    reload_until(page, "Done")
    page.get_by_role("link", name="Inspection uploaded").click()
    button(page, "Replay").click()
    expect(page.get_by_text("Replay started.")).to_be_visible()
    reload_until(page, "Done")
    page.get_by_role("link", name="Dashboard").click()
    button(page, "Disconnect").click()
    button(page, "Disconnect").click()
    expect(page.locator("[data-badge]")).to_have_text("Disconnected")
    page.context.close()

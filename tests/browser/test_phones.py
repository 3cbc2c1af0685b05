"""What people do on a phone, in Chromium at 320 px: nothing is cut off, and all that one can press is within reach."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, ViewportSize, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Customer, Membership, Role
from tests.browser.screens import Scene
from tests.browser.test_main_path import CHROMIUM
from tests.browser.test_screens import chromium, context, playwright, profile, scene, sign_in  # noqa: F401 (fixtures)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]
PHONE = ViewportSize(width=320, height=640)
HEADER_HEIGHT = 56


@pytest.fixture
def phone(context: BrowserContext, scene: Scene, live_server: LiveServer, settings: Settings) -> Page:  # noqa: F811
    """A page of Alice's browser, which is signed in."""
    settings.ALLOWED_HOSTS = ["localhost"]
    sign_in(context, scene.alice, at(live_server))
    page = context.new_page()
    page.set_viewport_size(PHONE)
    return page


def at(live_server: LiveServer) -> str:
    return f"http://localhost:{urlsplit(live_server.url).port}"


def test_the_header_is_one_row_whose_menu_holds_sign_out(
    phone: Page,
    scene: Scene,  # noqa: F811
    live_server: LiveServer,
) -> None:
    second = Customer.objects.create(name="The Estate Management of the Northern Docks and the Southern Harbour")
    Membership.objects.create(customer=second, user=scene.alice, role=Role.OWNER)
    phone.goto(f"{at(live_server)}/c/{second.code}/")
    box = phone.locator("header").bounding_box()
    assert box is not None
    assert box["height"] == HEADER_HEIGHT
    assert phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    expect(phone.get_by_role("button", name="Sign out")).to_have_count(0)

    phone.locator("summary", has_text="Account").click()
    phone.get_by_role("button", name="Sign out").click()
    expect(phone.get_by_role("link", name="Sign in").first).to_be_visible()


def test_the_whole_navigation_is_in_sight_and_a_filter_opens_on_demand(
    phone: Page,
    scene: Scene,  # noqa: F811
    live_server: LiveServer,
) -> None:
    scene.events(scene.connection(), days=2)
    phone.goto(f"{at(live_server)}/c/{scene.acme.code}/events/?state=done")
    links = phone.get_by_role("navigation", name=scene.acme.name).get_by_role("link").all()
    assert links[-1].inner_text().strip() == "Developers"
    for link in links:
        box = link.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= PHONE["width"]

    field, summary = phone.get_by_label("Inspection ID"), phone.locator("summary", has_text="Filter (1)")
    expect(field).not_to_be_visible()
    summary.click()
    expect(field).to_be_visible()
    summary.click()
    phone.set_viewport_size({"width": 768, "height": 800})
    expect(field).to_be_visible()
    expect(summary).not_to_be_visible()

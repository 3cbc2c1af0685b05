"""Every screen in a real Chromium, light and dark, wide and at 320 px: nothing on the console (the content security
policy refuses loudly), nothing serious for axe to say, no sideways scroll. Pictures land in var/screenshots/.

The screens stand in screens.py, customer_screens.py and staff_screens.py.
"""

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.account.internal.flows import login
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, sync_playwright
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Customer, User
from tests.browser import customer_screens, staff_screens  # noqa: F401 (they add their screens to SCREENS)
from tests.browser.screens import PLAIN, SCREENS, SIGNED_OUT, TOKEN, Scene, invitation
from tests.browser.test_main_path import CHROMIUM, PICTURES, QUIET

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    # Playwright's loop runs in this thread, and Django takes any loop for an asynchronous program.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as started:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield started


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(color_scheme="light", viewport={"width": 1100, "height": 800})
    yield context
    context.close()


@pytest.fixture
def context(profile: BrowserContext) -> Iterator[BrowserContext]:
    """A browser that is signed in nowhere; from earlier tests it has static files, and nothing else."""
    yield profile
    for page in profile.pages:
        page.close()
    profile.clear_cookies()


@pytest.fixture
def scene(acme: Customer, alice: User, bob: User, victor: User) -> Scene:
    return Scene(acme, alice, bob, victor)


# `make test` looks at these, `make test-slow` at all others.
FEW = {"first-run", "one-connection-with-events", "events-of-every-state", "welcome"}


def slow_but_few(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.slow] if name not in FEW else []) for name in names]


@pytest.mark.parametrize("name", slow_but_few([*PLAIN, *SCREENS]))
def test_C11_a_screen_is_clean_in_light_and_dark_and_on_a_small_phone(
    name: str, scene: Scene, context: BrowserContext, live_server: LiveServer, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    address = PLAIN[name].format(code=scene.acme.code) if name in PLAIN else SCREENS[name](scene)
    at = f"http://localhost:{urlsplit(live_server.url).port}"
    sign_in(context, scene.alice, at)
    look_at(context.new_page(), name, at + address)


@pytest.mark.parametrize("name", slow_but_few(SIGNED_OUT))
def test_C11_so_is_a_screen_that_strangers_see(
    name: str, scene: Scene, context: BrowserContext, live_server: LiveServer, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    invitation(scene, "dora@example.com")
    at = f"http://localhost:{urlsplit(live_server.url).port}"
    look_at(context.new_page(), name, at + SIGNED_OUT[name].format(token=TOKEN))


def look_at(page: Page, name: str, address: str) -> None:
    complaints = listen(page)
    page.emulate_media(reduced_motion="reduce")  # colours change at once: none is looked at halfway
    page.goto(address, wait_until="networkidle")
    assert page.url == address, "this is another page than the one to be looked at"
    axe = Axe()
    photograph(page, f"{name}-light", axe, RULES)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.wait_for_selector("html:not([data-bs-theme=light])")
    photograph(page, f"{name}-dark", axe, RULES | OF_COLOUR)
    assert complaints == []


def sign_in(context: BrowserContext, user: User, at: str) -> None:
    client = Client()
    client.force_login(user)
    # As if they had just entered their password once more; allauth counts those who do.
    session = client.session
    session[login.AUTHENTICATION_METHODS_SESSION_KEY] = [
        {"method": "password", "at": time.time(), "reauthenticated": True}
    ]
    session[login._AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(user.pk)
    session.save()
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": at}])


def listen(page: Page) -> list[str]:
    """What is written to the page's console from now on, but for Chromium's own word that the page itself is a 404."""
    complaints: list[str] = []

    def note(said: ConsoleMessage) -> None:
        if said.type == "error" and said.location["url"] != page.url:
            complaints.append(said.text)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", note)
    return complaints


# Without the stylesheets that axe itself would put into the page, which the policy refuses; no rule needs them.
RULES: dict[str, Any] = {"preload": False, "resultTypes": ["violations"]}
# All that axe can find in a page's dark colours and has not found in the same page in its light ones.
OF_COLOUR = {"runOnly": ["color-contrast", "link-in-text-block"]}


def photograph(page: Page, name: str, axe: Axe, rules: dict[str, Any]) -> None:
    """A full picture at this width and one at 320 px, both looked at by axe."""
    for width in (1100, 320):
        page.set_viewport_size({"width": width, "height": 800})
        small = "-320" if width == 320 else ""
        page.screenshot(path=PICTURES / f"screen-{name}{small}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways"
        found = axe.run(page, options=rules).response["violations"]
        axe.axe_script = "0"  # it stays in the page
        serious = [item for item in found if item["impact"] in {"serious", "critical"}]
        told = [(item["id"], re.sub(r"\s+", " ", item["nodes"][0]["html"])[:200]) for item in serious]
        assert told == [], f"{name} at {width} px"

"""Row C11: what a real Chromium keeps and tells of the tokens that travelled through it: nothing that still works."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, Request, expect

from tests.browser.test_main_path import CHROMIUM, PICTURES, QUIET, badge, picture, playwright, sign_up
from tests.support.measurements import record
from tests.support.running_app import RunningApp

__all__ = ["playwright"]  # the fixture
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]
PASSWORD = "correct horse battery"


class Watched:
    """A browser of its own, with everything that it asks for, and to whom it says where it comes from."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page = context.pages[0]
        self.requests: list[Request] = []
        self.addresses: list[str] = []
        context.on("request", self._note)
        self.page.on("framenavigated", lambda frame: self.addresses.append(frame.url))

    def _note(self, request: Request) -> None:
        self.requests.append(request)

    @property
    def back_list(self) -> list[str]:
        """The addresses behind the Back button and the Forward button."""
        told = self.context.new_cdp_session(self.page).send("Page.getNavigationHistory")
        return [str(entry[name]) for entry in told["entries"] for name in ("url", "userTypedURL")]

    @property
    def travelled(self) -> set[str]:
        """Every token that came in an address."""
        came = [parse_qs(urlsplit(request.url).query) for request in self.requests]
        return {token for query in came for name in ("access_token", "refresh_token") for token in query.get(name, [])}

    @property
    def referers(self) -> list[str]:
        sent = [request.all_headers().get("referer", "") for request in self.requests]
        return [referer for referer in sent if referer]


@pytest.fixture
def watched(playwright: Playwright, tmp_path: Path) -> Iterator[Watched]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    context = playwright.chromium.launch_persistent_context(tmp_path / "profile", executable_path=CHROMIUM, args=QUIET)
    yield Watched(context)
    context.close()


def allow(page: Page, running_app: RunningApp, account: int) -> None:
    expect(page.get_by_role("button", name="Allow")).to_be_visible()
    assert page.url.startswith(running_app.sandbox.url)
    page.locator(f'input[name="account"][value="{account}"]').check()
    page.get_by_role("button", name="Allow").click()


@pytest.mark.slow
def test_C11_connecting_linking_and_signing_in_leave_no_token_in_the_browser(
    watched: Watched, running_app: RunningApp
) -> None:
    page = watched.page
    # A SnapInspect user of this run's own: the app is shared, and a user can be linked once.
    account = running_app.sandbox.control(
        "POST", "accounts", {"company": 6847, "account": secrets.randbelow(10**8) + 10**6}
    )
    sign_up(page, running_app)
    person = page.locator("header").get_by_text("@example.com").first.inner_text()
    page.get_by_role("button", name="Connect with SnapInspect").click()
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_text("You did not allow access")).to_be_visible()
    page.get_by_role("button", name="Connect with SnapInspect").click()
    allow(page, running_app, account["account"])
    badge(page, "Connected")

    page.goto(f"{running_app.url}accounts/snapinspect/")
    page.get_by_role("button", name="Link your SnapInspect login").click()
    page.wait_for_url(lambda url: urlsplit(url).path != "/accounts/snapinspect/")
    if page.url.startswith(f"{running_app.url}accounts/reauthenticate/"):
        page.get_by_label("Password").fill(PASSWORD)
        page.locator("main").get_by_role("button").first.click()
    allow(page, running_app, account["account"])
    expect(page.get_by_text("Your SnapInspect login:")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{running_app.url}accounts/login/")
    picture(page, "11-sign-in-page", "light")
    page.get_by_role("link", name="Sign in with SnapInspect").click()
    page.get_by_role("button", name="Continue to SnapInspect").click()
    allow(page, running_app, account["account"])
    badge(page, "Connected")  # signed in, on the dashboard
    expect(page.locator("header").get_by_text(person).first).to_be_visible()

    back_list, travelled, referers = watched.back_list, watched.travelled, watched.referers
    homes = {urlsplit(home).netloc for home in (running_app.url, running_app.sandbox.url)}
    strangers = {urlsplit(asked.url).netloc for asked in watched.requests} - homes
    alive = [token for token in travelled if running_app.sandbox.accepts(token)]
    with_token = [place for place in (*watched.addresses, *back_list, *referers) if "token=" in place]
    at_callback = [place for place in back_list if urlsplit(place).path.startswith("/connect/callback")]
    record(
        "C11",
        "Connect declined and allowed, a link and a sign-in in Chromium",
        f"{len(travelled)} tokens travelled, {len(alive)} still work; {len(with_token)} in the address bar, the back"
        f" list of {len(back_list) // 2} or {len(referers)} Referers; {len(strangers)} third parties asked",
    )
    assert len(travelled) == 6
    assert referers, "nothing was measured"
    assert (alive, with_token, at_callback, strangers) == ([], [], [], set())


def test_tokens_behind_a_hash_leave_the_address_bar(watched: Watched, running_app: RunningApp) -> None:
    watched.page.goto(f"{running_app.url}connect/callback/?state=x#access_token=behind-a-hash&refresh_token=too")
    expect(watched.page.locator("h1")).to_contain_text("You are not signed in")
    notice = watched.page.get_by_role("status").filter(has_text="removed from the address")
    expect(notice).to_contain_text("start again")
    told = watched.context.new_cdp_session(watched.page).send("Page.getNavigationHistory")["entries"]
    assert "behind-a-hash" not in watched.page.url + str([entry["url"] for entry in told])

"""The hosted Connect page in a real Chromium, from the button of docs/examples/product.py and back to it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect

from connectapp import development
from tests.browser.test_main_path import CHROMIUM, chromium, playwright
from tests.conftest import AppFactory
from tests.support.clients import COMPANY_OF_PAT
from tests.support.postgres import free_port
from tests.support.running_app import RunningApp
from tests.support.wait import wait_until

__all__ = ["chromium", "playwright"]  # fixtures
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]
CONNECT, ALLOW = "Connect with SnapInspect", "Allow"
SAMPLE = "docs/examples/product.py"


class Product:
    """The sample, running beside Connect."""

    def __init__(self, app: RunningApp, port: int) -> None:
        self.app, self.url = app, f"http://127.0.0.1:{port}/"
        scopes = [word for scope in development.PRODUCT_SCOPES for word in ("--scope", scope)]
        key = app.manage("create_api_key", "--name", "product", *scopes).strip()
        app.start("product", SAMPLE, CONNECT_URL=app.url, CONNECT_API_KEY=key, PORT=str(port))
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def open(self, page: Page, user: str = "Ana") -> None:
        page.goto(self.url)
        page.get_by_role("button", name=f"Sign in as {user}").click()

    def begin(self, page: Page) -> str:
        """Presses the product's button; the address of the hosted page."""
        self.open(page)
        page.get_by_role("button", name=CONNECT).click()
        expect(page.get_by_text("For Initech Homes")).to_be_visible()
        return page.url

    def connections(self) -> int:
        return len(self.app.rows("SELECT id FROM integrations_connection"))


@pytest.fixture(scope="module")
def shared_product(app_factory: AppFactory) -> Iterator[Product]:
    port = free_port()
    with app_factory(CONNECT_RETURN_ORIGINS=f"http://127.0.0.1:{port}") as app:
        yield Product(app.start_all(), port)


@pytest.fixture
def product(shared_product: Product) -> Product:
    app = shared_product.app
    for table in ("connectsession", "connectattempt", "tokenpair", "connection"):
        app.rows(f"DELETE FROM integrations_{table} RETURNING 1")
    app.sandbox.reset()
    return shared_product


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1000, "height": 760})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def is_back(page: Page, words: str = "SnapInspect is connected.") -> None:
    expect(page.get_by_role("status")).to_have_text(words)


def is_over(page: Page) -> None:
    expect(page.get_by_role("heading", name="This link no longer works")).to_be_visible()


def test_from_the_products_button_to_live_inspections_without_a_token_in_any_address(
    product: Product, page: Page, context: BrowserContext
) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    product.begin(page)
    press(page, CONNECT)
    expect(page).to_have_url(re.compile(f"^{product.app.sandbox.url}"))
    press(page, ALLOW)
    is_back(page)
    assert page.url == product.url
    expect(page.get_by_role("cell", name="Entry inspection, 12 Harbour Street")).to_be_visible()
    expect(page.get_by_role("button", name=CONNECT)).to_have_count(0)
    told = context.new_cdp_session(page).send("Page.getNavigationHistory")
    visited = [entry[name] for entry in told["entries"] for name in ("url", "userTypedURL")]
    assert not [url for url in visited if "token=" in url or urlsplit(url).path == "/connect/callback/"]
    assert complaints == []


def test_the_product_is_told_by_webhook(product: Product, page: Page) -> None:
    product.begin(page)
    press(page, CONNECT)
    press(page, ALLOW)
    is_back(page)
    upload: dict[str, str | float | bool] = {
        "action": "upload",
        "company": COMPANY_OF_PAT,
        "title": "Exit inspection, 7 Lantern Square",
    }
    page.request.post(f"{product.app.sandbox.url}sandbox/inspections", form=upload)

    def was_told() -> bool:
        page.goto(product.url)
        said = page.get_by_role("listitem").all_inner_texts()
        return any("connection.connected" in line for line in said) and any(
            "inspection.created" in line and "Lantern Square" in line for line in said
        )

    wait_until(was_told, every=0.5)


def test_a_popup_closes_itself_and_the_page_below_shows_the_connection(product: Product, page: Page) -> None:
    product.open(page, "Ben")
    with page.expect_popup() as opened:
        page.get_by_role("button", name="Connect in a small window").click()
    popup = opened.value
    press(popup, CONNECT)
    with popup.expect_event("close"):
        press(popup, ALLOW)
    is_back(page)
    expect(page.get_by_role("table")).to_be_visible()


def test_who_declines_is_told_and_may_begin_again(product: Product, page: Page) -> None:
    product.begin(page)
    press(page, CONNECT)
    press(page, "Deny")
    is_back(page, "You did not allow access.")
    page.get_by_role("button", name=CONNECT).click()
    expect(page.get_by_role("button", name=CONNECT)).to_be_visible()


def test_an_address_that_somebody_wrote_is_not_believed(product: Product, page: Page) -> None:
    product.begin(page)
    page.goto(f"{product.url}connected?session=abcdefgh2345&status=connected")
    is_back(page, "You came back from something that did not begin here.")
    session = product.app.rows("SELECT code FROM integrations_connectsession")[0][0]
    page.goto(f"{product.url}connected?session={session}&status=connected")
    is_back(page, "SnapInspect could not be connected. Try again.")


def test_two_tabs_bring_one_connection_and_both_come_back(
    product: Product, page: Page, context: BrowserContext
) -> None:
    address = product.begin(page)
    other = context.new_page()
    other.goto(address)
    for tab in (page, other):
        press(tab, CONNECT)
    for tab in (page, other):
        press(tab, ALLOW)
    is_back(page)
    is_back(other)
    assert product.connections() == 1


def test_a_link_scanner_uses_nothing_up_and_a_second_browser_comes_too_late(
    product: Product, page: Page, chromium: Browser
) -> None:
    address = product.begin(page)
    for method in ("GET", "HEAD", "OPTIONS"):
        requests.request(method, address, timeout=30)
    second = chromium.new_context().new_page()
    second.goto(address)
    press(page, CONNECT)
    press(second, CONNECT)
    is_over(second)
    second.reload()
    is_over(second)
    second.context.close()
    press(page, ALLOW)
    is_back(page)


def test_the_back_button_before_and_after(product: Product, page: Page) -> None:
    address = product.begin(page)
    press(page, CONNECT)
    expect(page.get_by_role("button", name=ALLOW)).to_be_visible()
    page.go_back()
    assert page.url == address
    press(page, CONNECT)
    press(page, ALLOW)
    is_back(page)
    page.go_back()  # SnapInspect's page, which is still there
    press(page, ALLOW)
    is_back(page)
    assert product.connections() == 1
    page.goto(address)
    is_over(page)


def grow_old(product: Product, table: str, column: str) -> None:
    # As both databases read it. Not longer: what is forgotten is another case.
    old = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S+00:00")
    product.app.rows(f"UPDATE integrations_{table} SET {column} = '{old}' RETURNING 1")


def test_an_expired_address_says_so(product: Product, page: Page) -> None:
    address = product.begin(page)
    grow_old(product, "connectsession", "created_at")
    press(page, CONNECT)
    is_over(page)
    page.goto(address)
    is_over(page)


def test_who_took_too_long_at_snapinspect_comes_back_to_the_product(product: Product, page: Page) -> None:
    product.begin(page)
    press(page, CONNECT)
    grow_old(product, "connectsession", "created_at")
    grow_old(product, "connectattempt", "issued_at")
    press(page, ALLOW)
    is_back(page, "SnapInspect could not be connected. Try again.")
    assert product.connections() == 0

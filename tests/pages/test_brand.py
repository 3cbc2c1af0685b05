"""The operator's name, logo, accent and links, on every page."""

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import brand
from accounts.models import Customer, User

LINKS = {"SUPPORT_URL": "Help", "PRIVACY_URL": "Privacy", "TERMS_URL": "Terms", "STATUS_URL": "Status"}
ADDRESSES = ["/", "/accounts/login/", "/connect/sessions/made-up/", "/c/{code}/", "/accounts/2fa/", "/nowhere/"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(settings: Settings) -> None:
    settings.APP_NAME, settings.BRAND_LOGO, settings.BRAND_ACCENT = "Harbour Hub", "favicon.svg", "#ffee00"
    for name, words in LINKS.items():
        setattr(settings, name, f"https://operator.example/{words}")


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_page_shows_the_operator(address: str, operator: None, alice: User, acme: Customer) -> None:
    browser = Client()
    if address not in ADDRESSES[:3]:
        browser.force_login(alice)
    page = browser.get(address.format(code=acme.code)).content.decode()

    assert "Harbour Hub" in page and 'src="/static/favicon.svg"' in page and "/connect/brand.css" in page
    for words in LINKS.values():
        assert f'href="https://operator.example/{words}">{words}</a>' in page


def test_what_is_not_set_is_not_shown() -> None:
    page = Client().get("/").content.decode()

    assert "brand" not in page and "<footer" in page
    for words in LINKS.values():
        assert f">{words}</a>" not in page


@pytest.mark.parametrize(
    ("accent", "text"), [("#ffee00", "#000000"), ("#0b5ed7", "#ffffff"), ("#000000", "#ffffff"), ("#ffffff", "#000000")]
)
def test_text_on_the_accent_and_links_of_it_can_be_read(accent: str, text: str, settings: Settings) -> None:
    settings.BRAND_ACCENT = accent
    style = Client().get("/connect/brand.css").content.decode()

    assert f".btn-primary{{--bs-btn-color:{text}}}" in style
    for background in brand.BACKGROUNDS.values():
        link = brand.legible(accent, on=background)
        assert brand.contrast(link, background) >= brand.LEGIBLE
        assert brand.rgb(link) in style


def test_without_an_accent_there_is_no_style() -> None:
    answer = Client().get("/connect/brand.css")

    assert (answer.status_code, answer["Content-Type"], answer.content) == (200, "text/css", b"")


@pytest.mark.parametrize(("logo", "leads_to"), [("", "/static/favicon.svg"), ("https://cdn.example/a.png",) * 2])
def test_the_icon_that_browsers_look_for_by_themselves_is_there(logo: str, leads_to: str, settings: Settings) -> None:
    settings.BRAND_LOGO = logo

    assert Client().get("/favicon.ico").headers["Location"] == leads_to


@pytest.mark.parametrize("is_open", [True, False])
def test_the_start_page_says_what_this_is_and_how_to_begin(is_open: bool, settings: Settings) -> None:
    settings.SIGNUP_OPEN = is_open
    page = Client().get("/").content.decode()

    assert ("Create your account" in page, "Accept your invitation" in page) == (is_open, not is_open)
    for words in ("1. ", "2. ", "3. ", "How your access is kept safe", "Sign in with SnapInspect", "<svg"):
        assert words in page
    settings.SNAPINSPECT_SIGN_IN_FIELD = ""
    assert "Sign in with SnapInspect" not in Client().get("/").content.decode()

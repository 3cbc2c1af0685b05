"""Rows H3, H7, C14 and the headers: what browsers are told, and what comes in without having been asked for."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.conf import settings as configured
from django.test import Client
from pytest_django import Settings

from accounts import known_browsers
from accounts.models import Customer, User
from integrations import sandbox as standin
from integrations.models import Connection
from tests.commands.production import ENVIRONMENT
from tests.support.clients import Sandbox, Visitor, everything_kept, quick_connect, work
from tests.support.secret_scan import found_in
from tests.support.urls import filled, routes

# What browsers are told does not depend on the database.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
Visit = Callable[[User], Visitor]

# Who sends to these addresses has no page of ours to take a CSRF token from: SnapInspect's server, and mail programs
# that end a subscription (RFC 8058 section 3.1). What they do stands signed in the address itself.
WITHOUT_CSRF_TOKEN = {"webhook", "stop_mails"}
# No cookie counts there: a POST without a key does nothing, see test_tenants.py.
API = "api:"
HOST = "app.example.com"
PUBLIC = f"https://{HOST}/connect/callback/"
PAIR = {
    "access_token": "An-Access-Token-of-40-characters-at-least",
    "refresh_token": "A-Refresh-Token-of-40-characters",
}
QUERY = "&".join(f"{name}={value}" for name, value in PAIR.items()) + "&token_type=Bearer"


@pytest.fixture
def connected(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    return quick_connect(acme, sandbox, by=alice)


@pytest.mark.parametrize("person", ["alice", "staff", "stranger"])
def test_H7_without_its_csrf_token_no_post_gets_through_anywhere(
    person: str, connected: Connection, alice: User, acme: Customer
) -> None:
    people = {"alice": alice, "staff": User.objects.create_superuser("staff@example.com", "correct horse battery")}
    browser = Visitor(enforce_csrf_checks=True)
    if person in people:
        browser.force_login(people[person])
    values = {"code": acme.code, "connection_code": connected.code}
    before = everything_kept()

    for name, path in routes():
        if name not in WITHOUT_CSRF_TOKEN and not name.startswith(API):
            for fields in ({}, {"csrfmiddlewaretoken": "x" * 64}):
                answer = browser.post(filled(path, values), fields)
                assert answer.status_code == 403, path
    assert everything_kept() == before


def test_H7_a_post_with_its_token_gets_through_unless_it_comes_from_another_site(alice: User, acme: Customer) -> None:
    browser = Visitor(enforce_csrf_checks=True)
    browser.force_login(alice)
    page = browser.get(f"/c/{acme.code}/").text
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert found
    fields = {"csrfmiddlewaretoken": found[1]}

    assert browser.post(f"/c/{acme.code}/connect/", fields).status_code == 302
    foreign = browser.post(f"/c/{acme.code}/connect/", fields, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert "Traceback" not in foreign.text


class Inline(HTMLParser):
    """What on a page the content security policy would refuse: scripts and styles that stand in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "style" or (tag == "script" and not given.get("src") and given.get("type") != "application/json"):
            self.found.append(tag)
        for name, value in attributes:
            if name == "style" or name.startswith("on") or str(value).strip().lower().startswith("javascript:"):
                self.found.append(f"{tag} {name}")
            if name in {"src", "action"} and re.match(r"(https?:)?//", str(value)):
                self.found.append(f"{tag} {name}={value}")


def directives(answer: Any) -> dict[str, set[str]]:
    parts = [part.split() for part in answer["Content-Security-Policy"].split(";") if part.strip()]
    return {name: set(sources) for name, *sources in parts}


def test_every_page_tells_browsers_to_trust_nothing_but_what_this_app_serves(
    connected: Connection, visit: Visit, alice: User, acme: Customer, stranger: Client
) -> None:
    below = f"/c/{acme.code}/connections/{connected.code}"
    browser = visit(alice)
    tested = browser.post(f"{below}/test/")["Location"]
    pages = [
        *(stranger.get(path) for path in ("/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/")),
        *(
            browser.get(path)
            for path in (f"/c/{acme.code}/", tested, f"{below}/panels/account/", f"{below}/disconnect/")
        ),
        *(browser.get(path) for path in ("/connect/ended/expired/", "/accounts/2fa/", "/accounts/email/")),
        browser.get("/nowhere/"),
        stranger.get("/connect/ended/nothing/"),
        Visitor(enforce_csrf_checks=True).post("/accounts/login/"),
    ]
    vendor = {"https://my.snapinspect.com", "https://*.snapinspect.com"}

    assert [page.status_code for page in pages] == [200] * 11 + [404, 404, 403]
    for page in pages:
        path = page.request["PATH_INFO"]
        policy = directives(page)
        assert policy["default-src"] == {"'self'"}, path
        assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == {"'none'"}, path
        assert policy["form-action"] == {"'self'"} | vendor, path
        for sources in policy.values():
            assert not sources & {"'unsafe-inline'", "'unsafe-eval'", "*", "http:", "https:"}, path
        assert page["X-Content-Type-Options"] == "nosniff", path
        assert page["X-Frame-Options"] == "DENY", path
        assert page["Referrer-Policy"] in {"same-origin", "no-referrer"}, path
        assert page["Cross-Origin-Opener-Policy"] == "same-origin", path
        assert Inline(page.text).found == [], path


def test_H3_cookies_cannot_be_read_by_scripts_and_come_along_on_the_way_back_from_snapinspect(acme: Customer) -> None:
    browser = Visitor()
    browser.post("/accounts/login/", {"login": "alice@example.com", "password": "correct horse battery"})
    browser.get(f"/c/{acme.code}/")

    set_ones = {name: cookie for name, cookie in browser.cookies.items() if cookie.value}
    assert set(set_ones) == {"sessionid", "csrftoken", known_browsers.COOKIE}
    for cookie in set_ones.values():
        assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Lax", "/", "")


SHOW = (
    "import connectapp.settings as s; print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE,"
    " s.CSRF_COOKIE_SECURE, s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS >= 31_536_000)"
)


def test_H3_in_production_cookies_belong_to_the_host_and_to_https() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=configured.BASE_DIR,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == ["__Host-sessionid", "__Host-csrftoken", "True", "True", "True", "True"]


@pytest.fixture
def in_public(settings: Settings) -> Iterator[Sandbox]:
    """The app as it is reached from outside, over https; and a SnapInspect where it is registered so."""
    settings.ALLOWED_HOSTS = [HOST]
    settings.SECURE_SSL_REDIRECT = True
    settings.SNAPINSPECT_REDIRECT_URI = PUBLIC
    with standin.serve(
        client_id=settings.SNAPINSPECT_CLIENT_ID,
        client_secret=settings.SNAPINSPECT_CLIENT_SECRET,
        redirect_uri=PUBLIC,
        app_name="Connect",
    ) as running:
        settings.SNAPINSPECT_CONNECT_URL = f"{running.url}integration/SnapInspectConnect"
        settings.SNAPINSPECT_EXCHANGE_URL = f"{running.url}integration/ExchangeToken"
        settings.SNAPINSPECT_API_URL = running.url
        yield Sandbox(running.url)


@pytest.mark.parametrize("path", ["/connect/callback/", "/connect/callback"])
@pytest.mark.parametrize(
    "headers", [{}, {"X-Forwarded-Proto": "https"}, {"X-Forwarded-Ssl": "on"}, {"Forwarded": "proto=https"}], ids=str
)
def test_C14_over_plain_http_the_callback_answers_400_and_repeats_nothing(
    path: str, headers: dict[str, str], in_public: Sandbox, alice: User, acme: Customer
) -> None:
    browser = Visitor(SERVER_NAME=HOST)
    browser.force_login(alice)

    answer = browser.get(f"{path}?{QUERY}&state=s", headers=headers)

    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert found_in(answer.content + str(answer.headers).encode(), PAIR.values()) == []
    assert everything_kept() == []
    # Every other page is sent on to https.
    assert browser.get(f"/c/{acme.code}/")["Location"] == f"https://{HOST}/c/{acme.code}/"


def test_C14_over_https_the_same_return_connects(in_public: Sandbox, alice: User, acme: Customer) -> None:
    browser = Visitor(SERVER_NAME=HOST)
    browser.force_login(alice)
    left = browser.post(f"/c/{acme.code}/connect/", secure=True)
    parts = urlsplit(in_public.decide(left["Location"]))
    assert parts.scheme == "https"

    assert browser.get(f"{parts.path}?{parts.query}").status_code == 400
    assert everything_kept() == []
    answer = browser.get(f"{parts.path}?{parts.query}", secure=True)

    assert (answer.status_code, answer["Location"]) == (303, f"/c/{acme.code}/")
    assert found_in(str(answer.headers).encode(), [value for _, value in parse_qsl(parts.query)]) == []
    work()
    assert str(acme.connections.get().badge.label) == "Connected"


@pytest.mark.parametrize("signed_in", [False, True], ids=["stranger", "signed in"])
@pytest.mark.parametrize(
    "path",
    [
        "/connect/callback/?",
        "/connect/callback?",
        "/connect/callback/?error=access_denied&",
        "/connect/callback/more/?",
        "/connect/ended/used?",
        "/connect/ended/used/?",
        "/accounts/login?",
        "/accounts/email/?",
        "/accounts/login/?next=/connect/callback/%3F",
        "/c/nosuchcode22?",
        "/c/nosuchcode22/?",
        "/admin/?",
        "/admin?",
        "//connect/callback/?",
        "/Connect/Callback/?",
        "/?",
    ],
)
@pytest.mark.parametrize("spelling", ["plain", "encoded"])
def test_wherever_tokens_land_no_answer_carries_them_on(
    path: str, spelling: str, signed_in: bool, visit: Visit, alice: User, acme: Customer
) -> None:
    query = (
        QUERY
        if spelling == "plain"
        else QUERY.replace("_token", "%5Ftoken").replace("&", "%26" if "next=" in path else "&")
    )
    browser = visit(alice) if signed_in else Visitor()

    answer = browser.get(path + query)

    assert answer.status_code < 500
    assert "callback" not in answer.get("Location", "")
    assert found_in(answer.content + str(answer.headers).encode() + str(browser.cookies).encode(), PAIR.values()) == []
    assert everything_kept() == []

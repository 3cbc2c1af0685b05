"""Links SnapInspect users and signs in with them, by the pages and the stand-in."""

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from accounts.models import User
from tests.support.clients import PAT, Sandbox, Visitor, work

ACCOUNT, START, WAITING = (
    "/accounts/snapinspect/",
    "/accounts/snapinspect/sign-in/",
    "/accounts/snapinspect/signing-in/",
)


def leave_to_sign_in(browser: Visitor, **fields: str) -> str:
    response = browser.post(START, fields)
    assert response.status_code == 302, response.status_code
    return str(response["Location"])


def leave_to_link(browser: Visitor) -> str:
    browser.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    response = browser.post(f"{ACCOUNT}link/")
    assert response.status_code == 302, response.status_code
    return str(response["Location"])


def link(browser: Visitor, sandbox: Sandbox, account: str = PAT) -> str:
    """All of linking; returns the page that says what came of it."""
    response = browser.open_callback(sandbox.decide(leave_to_link(browser), account=account))
    assert (response.status_code, response["Location"]) == (303, ACCOUNT)
    work()
    return browser.get(ACCOUNT).content.decode()


def sign_in_with_snapinspect(browser: Visitor, sandbox: Sandbox, account: str = PAT) -> Any:
    """All of signing in; returns what the waiting page answers when the worker is done."""
    response = browser.open_callback(sandbox.decide(leave_to_sign_in(browser), account=account))
    assert (response.status_code, response["Location"]) == (303, WAITING)
    work()
    return browser.get(WAITING)


def who(browser: Visitor) -> User | None:
    pk = browser.session.get("_auth_user_id")
    return User.objects.get(pk=pk) if pk else None


def token_in(address: str) -> str:
    return parse_qs(urlsplit(address).query)["access_token"][0]


def as_it_came(address: str, **changed: str) -> str:
    parts = urlsplit(address)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changed
    return f"{parts.path}?{urlencode(query)}"

"""Whatever a browser sends, to any address, in any parameter and in any field of a form, is answered: no crash."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.core.cache import cache

from accounts.models import User
from tests.pages.test_tenants import ROUTES, staff, values  # noqa: F401 (fixtures)
from tests.support.clients import Visitor
from tests.support.urls import filled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
Visit = Callable[[User], Visitor]

HOSTILE = [
    "", "a\0b", "\ud800", "x" * 20_000, "-1", "9" * 23, "[" * 5000, "9999-12-31T23:59:59", "http://[::1", "💥\u202e",
]  # fmt: skip
# What pages read from the query of their address.
NAMES = [
    "after", "answer", "attention", "before", "code", "company", "connection", "finishing", "key", "limit", "next",
    "of", "page", "path", "q", "retries", "seen", "session", "shown", "since", "state", "status", "type", "until",
]  # fmt: skip
# End the walk: the person is gone, or signed out.
ENDS = re.compile("logout|/close/|/delete/")


class Sender:
    """A browser of this person, and what has crashed."""

    def __init__(self, person: str, visit: Visit) -> None:
        self._person, self._visit = person, visit
        self.crashes: list[str] = []
        for user in User.objects.all():
            user.emailaddress_set.get_or_create(email=user.email, defaults={"verified": True, "primary": True})
        self.sign_in()

    def sign_in(self) -> None:
        cache.clear()  # sign-ins and sign-ups are counted
        self.browser = Visitor()
        if self._person != "stranger":
            self.browser = self._visit(User.objects.get(email=f"{self._person}@example.com"))
            self.browser.post("/accounts/reauthenticate/", {"password": "correct horse battery"})

    def send(self, method: str, address: str, fields: dict[str, str], told: str) -> None:
        """told: which of it is hostile."""
        cache.clear()
        sent = urlencode(fields, errors="surrogatepass")
        try:
            if method == "post":
                answer: Any = self.browser.post(address, sent, content_type="application/x-www-form-urlencoded")
            else:
                answer = self.browser.get(f"{address}?{sent}" if sent else address)
            outcome = "" if answer.status_code < 500 else str(answer.status_code)
        except Exception as problem:
            outcome = repr(problem)[:200]
        if outcome:
            self.crashes.append(f"{method} {address[:100]} {told[:40]!r}: {outcome}")


class Forms(HTMLParser):
    """The forms of a page: method, address ("" for the page's own) and fields with the values they come with."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, dict[str, str]]] = []
        self._is_inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._is_inside = True
            self.found.append((given.get("method", "get").lower(), given.get("action", "").partition("#")[0], {}))
        elif self._is_inside and tag in {"input", "select", "textarea", "button"} and given.get("name"):
            self.found[-1][2].setdefault(given["name"], given.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        self._is_inside = self._is_inside and tag != "form"


def routes_of(person: str) -> list[tuple[str, str]]:
    """Name and path of the pages that this person comes to see."""
    return sorted(
        (name, path)
        for name, path in set(ROUTES)
        if not path.startswith("/api/")
        and not ENDS.search(path)
        and path.startswith(("/admin/", "/staff/")) == (person == "staff")
    )


def addresses_of(person: str, values: dict[str, Any]) -> list[str]:  # noqa: F811
    personal = {"personal_token": values["personal_token"]}
    return [filled(path, values | personal.get(name, {})) for name, path in routes_of(person)]


@pytest.mark.parametrize(("person", "fewest"), [("alice", 40), ("staff", 15), ("stranger", 3)])
def test_a_form_with_a_hostile_value_in_any_field_is_no_crash(
    person: str,
    fewest: int,
    values: dict[str, Any],  # noqa: F811
    visit: Visit,
    staff: User,  # noqa: F811
) -> None:
    sender, seen = Sender(person, visit), set()
    for address in addresses_of(person, values):
        sender.sign_in()  # whatever was sent before
        page = sender.browser.get(address)
        if page.status_code != 200 or "html" not in page["Content-Type"]:
            continue
        for method, action, fields in Forms(page.text).found:
            to = action or address
            # Lists have the same forms for each of their rows.
            kind = method, re.sub(r"[0-9a-z]{12}|[0-9]+", "*", to), tuple(fields)
            if kind in seen or ENDS.search(to):
                continue
            seen.add(kind)
            sender.sign_in()
            for name in set(fields) - {"csrfmiddlewaretoken"}:
                for value in HOSTILE:
                    sender.send(method, to, fields | {name: value}, f"{name}={value}")
    assert not sender.crashes, "\n".join(sender.crashes)
    assert len(seen) >= fewest, "the walk found too few forms"


@pytest.mark.once
@pytest.mark.parametrize("person", ["alice", "staff", "stranger"])
def test_a_hostile_value_in_an_address_is_no_crash(
    person: str,
    values: dict[str, Any],  # noqa: F811
    visit: Visit,
    staff: User,  # noqa: F811
) -> None:
    sender = Sender(person, visit)
    for address in addresses_of(person, values):
        for value in HOSTILE:
            sender.send("get", address, dict.fromkeys(NAMES, value), value)
        for name in NAMES:
            for value in ("a\0b", "http://[::1"):
                sender.send("get", address, {name: value}, f"{name}={value}")
    for _, path in routes_of(person):
        for parameter in re.findall(r"<(\w+)>", path):
            for value in ("a\0b", "\ud800", "x" * 2000, "9" * 23, "zzzzzzzzzzzzz", "💥"):
                hostile = quote(value, errors="surrogatepass")
                for method in ("get", "post"):
                    sender.send(method, filled(path, values | {parameter: hostile}), {}, value)
    assert not sender.crashes, "\n".join(sender.crashes)

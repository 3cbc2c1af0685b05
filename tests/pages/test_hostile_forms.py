"""Every form of every page takes whatever a browser sends: it is answered, and never by a crash."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.cache import cache

from accounts.models import User
from tests.pages.test_tenants import ROUTES, staff, values  # noqa: F401 (fixtures)
from tests.support.clients import Visitor
from tests.support.urls import filled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
Visit = Callable[[User], Visitor]
Field = tuple[str, str]

HOSTILE = [
    "",
    "a\0b",
    "\ud800",
    "x" * 20_000,
    "-1",
    "9" * 23,
    "[" * 5000,
    "9999-12-31T23:59:59",
    "http://[::1",
    "💥\u202e",
]
# End the walk: the person is gone, or signed out.
ENDS = re.compile("logout|/close/|/delete/")


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


def signed_in(person: str, visit: Visit) -> Visitor:
    cache.clear()  # sign-ins and sign-ups are counted
    if person == "stranger":
        return Visitor()
    browser = visit(User.objects.get(email=f"{person}@example.com"))
    browser.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    return browser


@pytest.mark.parametrize("person", ["alice", "staff", "stranger"])
def test_a_form_with_a_hostile_value_in_any_field_is_no_crash(
    person: str,
    values: dict[str, Any],  # noqa: F811
    visit: Visit,
    staff: User,  # noqa: F811
) -> None:
    for user in User.objects.all():
        user.emailaddress_set.get_or_create(email=user.email, defaults={"verified": True, "primary": True})
    browser, seen, crashes = signed_in(person, visit), set(), []
    personal = {"personal_token": values["personal_token"]}
    for path in sorted({filled(path, values | personal.get(name, {})) for name, path in ROUTES}):
        if path.startswith("/api/") or ENDS.search(path):
            continue
        page = browser.get(path)
        if page.status_code != 200 or "html" not in page["Content-Type"]:
            continue
        for method, action, fields in Forms(page.text).found:
            address = action or path
            # Lists have the same forms for each of their rows.
            kind = method, re.sub(r"[0-9a-z]{12}|[0-9]+", "*", address), tuple(fields)
            if kind in seen or ENDS.search(address):
                continue
            seen.add(kind)
            browser = signed_in(person, visit)
            for name in set(fields) - {"csrfmiddlewaretoken"}:
                for value in HOSTILE:
                    cache.clear()
                    sent = urlencode(fields | {name: value}, errors="surrogatepass")
                    try:
                        if method == "post":
                            browser.post(address, sent, content_type="application/x-www-form-urlencoded")
                        else:
                            browser.get(f"{address}?{sent}")
                    except Exception as problem:
                        crashes.append(f"{method} {address} {name}={value[:20]!r}: {str(problem)[:200]!r}")
    assert not crashes, "\n".join(crashes)
    assert len(seen) >= {"alice": 40, "staff": 40, "stranger": 3}[person], "the walk found too few forms"

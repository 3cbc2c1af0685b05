"""The audit log: what was done, by whom, for which company and when; for owners, as a page and as a file."""

import ast
import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from accounts import audit
from accounts.models import AuditEntry, Customer, Membership, User
from integrations import wording
from integrations.models import Event
from tests.accounts.test_invitations import DORA, invite, newest_link
from tests.project.test_architecture import MODULES
from tests.support.clients import Sandbox, Visitor, work
from tests.support.deliveries import deliver, payload
from tests.support.measurements import record

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def rows(browser: Visitor, customer: Customer, **chosen: str) -> list[dict[str, str]]:
    """The lines of the downloaded file."""
    answer = browser.get(f"/c/{customer.code}/audit.csv", chosen)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))


def shown(page: str) -> list[str]:
    """What happened, by the rows of the page."""
    return [words.strip() for words in re.findall(r"<tr[^>]*>\s*<td.*?</td>\s*<td[^>]*>(.*?)<span", page, re.S)]


def test_O14_twelve_kinds_of_things_that_people_do_stand_in_the_log_with_who_what_where_and_when(
    sandbox: Sandbox, visit: Visit, alice: User, bob: User, victor: User, acme: Customer
) -> None:
    began = datetime.now(UTC)
    owner, browser = visit(alice), visit(bob)
    connection = browser.connect(acme, sandbox)
    where = f"/c/{acme.code}/connections/{connection.code}/"
    browser.post(f"{where}test/")
    deliver(payload())
    work()
    event = Event.objects.get()
    browser.post(f"/c/{acme.code}/events/{event.code}/replay/")
    browser.get(f"{where}activity.csv").getvalue()
    invite(owner, acme)
    Visitor().post(f"{newest_link()}signup/", {"password1": "correct horse battery"})
    victors = Membership.objects.get(user=victor)
    owner.post(f"/c/{acme.code}/people/{victors.pk}/role/", {"role": "member"})
    owner.post(f"/c/{acme.code}/people/{victors.pk}/remove/")
    owner.post(f"/c/{acme.code}/company/", {"company": "Acme Lettings"})
    owner.post("/accounts/notifications/", {})
    browser.post(f"{where}replace-tokens/")
    work()
    browser.post(f"{where}disconnect/")
    work()
    rows(owner, acme)

    found = rows(owner, acme)
    ended = datetime.now(UTC)
    who = {row["kind"]: row["who"] for row in reversed(found)}
    expected = {
        "connect.started": bob.email,
        "connect.connected": bob.email,
        "connection.tested": bob.email,
        "event.replayed": bob.email,
        "activity.exported": bob.email,
        "tokens.replacing": bob.email,
        "connection.disconnected": bob.email,
        "member.invited": alice.email,
        "member.joined": DORA,
        "member.role_changed": alice.email,
        "member.removed": alice.email,
        "customer.renamed": alice.email,
        "notifications.changed": alice.email,
        "audit.exported": alice.email,
    }
    assert {kind: who.get(kind) for kind in expected} == expected
    assert all(began <= datetime.fromisoformat(row["time (UTC)"]) <= ended for row in found)
    assert {row["time (UTC)"][-6:] for row in found} == {"+00:00"}
    assert {entry.customer_id for entry in AuditEntry.objects.all()} == {acme.pk}
    tokens = [token["token"] for token in sandbox.tokens()]
    assert tokens
    said = str(found) + str(list(AuditEntry.objects.values())) + owner.get(f"/c/{acme.code}/audit/").text
    assert not [token for token in tokens if token in said]
    record("O14", "what people do", f"{len(expected)} kinds, each with who, what, organisation, time in UTC; 0 tokens")


@cache
def kinds_in_the_code() -> set[str]:
    """Every kind that some line of the product records for a customer, as far as it is written out."""
    calls = (
        node
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record"
    )
    first = (call.args[0] for call in calls if any(named.arg == "customer" for named in call.keywords))
    return {kind.value for kind in first if isinstance(kind, ast.Constant) and isinstance(kind.value, str)}


def test_every_kind_that_is_recorded_has_words_for_people() -> None:
    assert len(kinds_in_the_code()) > 15
    assert {kind for kind in kinds_in_the_code() if kind not in wording.ACTIVITY} == set()


def test_every_kind_belongs_to_one_group_of_the_filter() -> None:
    assert len(wording.GROUPS) <= 16
    groups = {
        kind: [code for code, (_, beginnings) in wording.GROUPS.items() if kind.startswith(beginnings)]
        for kind in {*wording.ACTIVITY, *kinds_in_the_code()}
    }
    assert {kind: found for kind, found in groups.items() if len(found) != 1} == {}


@pytest.fixture
def entries(acme: Customer, alice: User, bob: User) -> None:
    """120 entries on the days from 1 March on, ten a day, by three in turn."""
    for number in range(120):
        kind = ("connect.started", "member.left", "connection.trouble")[number % 3]
        entry = audit.record(kind, customer=acme, actor=(alice, bob, None)[number % 3], number=number)
        at = datetime(2026, 3, 1, 23, 59, tzinfo=UTC) + timedelta(days=number // 10)
        AuditEntry.objects.filter(pk=entry.pk).update(at=at)


def test_the_log_is_read_page_by_page_without_a_gap(visit: Visit, alice: User, acme: Customer, entries: None) -> None:
    browser, seen, address = visit(alice), [], "?about="
    for _ in range(9):
        page = browser.get(f"/c/{acme.code}/audit/{address}").text
        seen += shown(page)
        older = re.search(r'href="(\?[^"]+)">Older', page)
        if not older:
            break
        address = older[1].replace("&amp;", "&")

    assert len(seen) == 120
    assert seen[:3] == ["Connection trouble started", "Left the company", "Started connecting"]


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        ({"about": "people"}, 40),
        ({"about": "connecting"}, 40),
        ({"person": "alice@example.com"}, 40),
        ({"person": "system"}, 40),
        ({"person": "nobody@example.com"}, 0),
        ({"since": "2026-03-03", "until": "2026-03-04"}, 20),
        ({"until": "2026-03-01", "person": "bob@example.com"}, 3),
        ({}, 120),
    ],
    ids=str,
)
def test_the_filter_stands_in_the_address_and_the_file_holds_exactly_what_it_finds(
    chosen: dict[str, str], count: int, visit: Visit, alice: User, acme: Customer, entries: None
) -> None:
    browser = visit(alice)
    page = browser.get(f"/c/{acme.code}/audit/", chosen).text

    assert len(shown(page)) == min(count, 50)
    assert len([row for row in rows(browser, acme, **chosen) if row["kind"] != "audit.exported"]) == count
    for name, value in chosen.items():
        assert f"{name}={value.replace('@', '%40')}" in page, "the link to the file carries the filter"


@pytest.mark.parametrize(
    "query",
    ["about=made.up", "about=nul%00", "kind=member.left", "person=nul%00", "person=" + "x" * 3000,
     "since=yesterday", "since=9999-12-31",
     "until=0001-01-01", "since=2026-02-30", "before=x", "before=" + "9" * 40, "before=-1", "about=a&about=b"],
)  # fmt: skip
def test_an_address_that_means_nothing_is_answered_in_words(
    query: str, visit: Visit, alice: User, acme: Customer, entries: None
) -> None:
    browser = visit(alice)
    assert browser.get(f"/c/{acme.code}/audit/?{query}").status_code == 200
    assert browser.get(f"/c/{acme.code}/audit.csv?{query}").status_code == 200


def test_who_has_left_can_still_be_looked_for(visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    visit(bob).post(f"/c/{acme.code}/people/leave/")
    bob.delete()

    (row,) = rows(visit(alice), acme, person="bob@example.com")
    assert (row["what"], row["who"]) == ("Left the company", "bob@example.com")


def test_people_are_called_by_the_name_that_they_gave(visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    browser = visit(alice)
    answer = browser.post("/accounts/profile/", {"first_name": "Alice", "last_name": "<b>Jones"})
    assert answer["Location"] == "/accounts/profile/"
    audit.record("member.role_changed", customer=acme, actor=bob, person=alice.email, before="owner", after="member")
    audit.record("customer.renamed", customer=acme, actor=User.objects.get(pk=alice.pk), before="A", after="B")
    audit.record("customer.renamed", customer=acme, before="A", after="B")

    page = " ".join(browser.get(f"/c/{acme.code}/audit/").text.split())
    assert "Alice &lt;b&gt;Jones from owner to member" in page
    assert "> Alice &lt;b&gt;Jones <" in page and "> bob@example.com <" in page and "> The system <" in page
    assert ">Alice &lt;b&gt;Jones</option>" in page
    assert "Alice &lt;b&gt;Jones" in visit(bob).get(f"/c/{acme.code}/people/").text
    assert {row["who"] for row in rows(browser, acme, about="company")} == {alice.email, "the system"}, (
        "the file is exact"
    )


@pytest.mark.parametrize("name", ["\u2800", "x" * 151, "nul\0"])
def test_a_name_is_visible_and_fits(name: str, visit: Visit, alice: User) -> None:
    answer = visit(alice).post("/accounts/profile/", {"first_name": name, "last_name": ""})

    assert answer.status_code == 200 and "errorlist" in answer.text
    assert User.objects.get(pk=alice.pk).display_name == alice.email


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_file_is_a_formula(start: str, visit: Visit, alice: User, acme: Customer) -> None:
    name = f'{start}HYPERLINK("http://evil.example")'
    User.objects.filter(pk=alice.pk).update(email=name)
    audit.record(name, customer=acme, actor=User.objects.get(pk=alice.pk))

    for row in rows(visit(alice), acme):
        assert not [cell for cell in row.values() if cell[:1] in {"=", "+", "-", "@", "\t", "\r"}]


def test_nothing_of_another_company_is_in_the_log(
    visit: Visit, alice: User, charlie: User, acme: Customer, entries: None
) -> None:
    theirs = charlie.customers.get()
    audit.record("member.left", customer=theirs, actor=charlie)

    assert [row["who"] for row in rows(visit(charlie), theirs, about="people")] == [charlie.email]
    assert charlie.email not in visit(alice).get(f"/c/{acme.code}/audit/").text


def test_the_page_costs_the_same_however_long_the_log_is(
    visit: Visit, alice: User, acme: Customer, request: pytest.FixtureRequest
) -> None:
    browser = visit(alice)
    audit.record("member.left", customer=acme, actor=alice)
    counted = []
    for prepare in (lambda: None, lambda: request.getfixturevalue("entries")):
        prepare()
        with CaptureQueriesContext(database) as queries:
            browser.get(f"/c/{acme.code}/audit/")
        counted.append(len(queries))
    assert counted[0] == counted[1]

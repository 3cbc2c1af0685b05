"""The explorer: any GET of the API for owners, on record, and no way to other people's data or to other hosts."""

import base64
import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connection as database
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import Customer, Membership, Role, User
from integrations import checks
from integrations.background import jobs
from integrations.calls import api_client, explorer, limits
from integrations.models import Connection, ExplorerAnswer, ExplorerCall, State
from tests.settings import SENTINEL
from tests.snapinspect.test_addresses import TRICKS
from tests.support.clients import OTHER, Sandbox, Visitor, audited

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def ask(browser: Visitor, connection: Connection, path: str = "user", *, at: str = "") -> str:
    """The page after the question: reached by a redirect, so that reloading it asks nothing."""
    where = at or f"/c/{connection.customer.code}/explorer/"
    answer = browser.post(where, {"connection": connection.code, "path": path}, follow=True)
    assert answer.status_code == 200
    assert answer.redirect_chain == [(where, 302)], "it was refused"
    return str(answer.text)


def answers(sandbox: Sandbox, path: str, body: bytes, status: int = 200) -> None:
    # Compressed: the stand-in takes no orders of megabytes.
    packed = base64.b64encode(gzip.compress(body)).decode()
    sandbox.fault(path, "raw", status=status, body_base64=packed, headers={"Content-Encoding": "gzip"}, times=None)


def test_an_owner_sees_the_answer_laid_out_with_status_time_and_size_on_a_page_that_reloads(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    browser = visit(alice)
    page = ask(browser, connection, "inspections?sort=newest")

    assert "HTTP 200" in page and " ms · " in page and "bytes" in page
    assert "&quot;sTitle&quot;: &quot;Routine inspection, 3 Quay Lane&quot;" in page
    assert "Quay Lane" in browser.get(f"/c/{acme.code}/explorer/").text
    assert [call["path"] for call in sandbox.calls()] == ["/inspections"]


def test_without_a_connection_the_page_says_what_comes_first(visit: Visit, alice: User, acme: Customer) -> None:
    assert "No connections yet" in visit(alice).get(f"/c/{acme.code}/explorer/").text


def test_no_link_asks_anything(sandbox: Sandbox, visit: Visit, alice: User, connection: Connection) -> None:
    where = f"/c/{connection.customer.code}/explorer/"
    assert visit(alice).get(f"{where}?connection={connection.code}&path=user").status_code == 200
    strict = Visitor(enforce_csrf_checks=True)
    strict.force_login(alice)
    assert strict.post(where, {"connection": connection.code, "path": "user"}).status_code == 403
    assert sandbox.calls() == []


@pytest.mark.parametrize("path", TRICKS)
def test_A3_a_path_trick_is_refused_with_a_sentence_and_nothing_is_sent(
    path: str, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    answer = visit(alice).post(f"/c/{acme.code}/explorer/", {"connection": connection.code, "path": path})

    assert answer.status_code == 200
    expected = ("Enter a path under", "This field is required", "Null characters are not allowed", "at most 4000")
    assert any(words in answer.text for words in expected)
    assert sandbox.calls() == [] and not ExplorerCall.objects.exists()


def test_another_customers_connection_cannot_be_asked(
    sandbox: Sandbox, visit: Visit, charlie: User, connection: Connection
) -> None:
    browser = visit(charlie)
    his = charlie.customers.get()
    own = browser.connect(his, sandbox, account=OTHER)
    sandbox.control("DELETE", "log")
    for code in (connection.code, "nosuchcode22", "a\0b", ""):
        answer = browser.post(f"/c/{his.code}/explorer/", {"connection": code, "path": "user"})
        assert answer.status_code == 200 and "is not available right now" in answer.text
    assert sandbox.calls() == []
    assert "Meadow Row" in ask(browser, own, "inspections")


@pytest.mark.parametrize(
    ("body", "status", "shown"),
    [
        (b"<h1>Maintenance</h1>", 200, "&lt;h1&gt;Maintenance&lt;/h1&gt;"),
        (b'{"error": "no such thing"}', 404, "no such thing"),
        (b"plain \xff\x00 bytes", 500, "plain \\xff\N{REPLACEMENT CHARACTER} bytes"),
        (b"", 200, "This response is not JSON"),
        (b"[NaN]", 200, "null"),
        (b"[" * 5000, 200, "[[[["),
        (b'"a\\ud800b"', 200, "a\N{REPLACEMENT CHARACTER}b"),
        (b"1" * 5000, 200, "1111"),
    ],
)
def test_whatever_comes_is_shown_as_the_text_it_is(
    body: bytes, status: int, shown: str, sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    answers(sandbox, "/odd", body, status)
    page = ask(visit(alice), connection, "odd")
    assert f"HTTP {status}" in page and shown in page


@pytest.mark.parametrize(
    "body",
    [
        json.dumps([{"padding": "x" * 200}] * 5_000).encode(),
        b"[" * 99 + b"1," * 400_000 + b"1" + b"]" * 99,  # laid out, this would be two hundred times as large
        b"x" * 5_000_000,
    ],
    ids=["rows", "deep", "text"],
)
def test_a_huge_answer_is_cut_and_the_page_says_so(
    body: bytes, sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    answers(sandbox, "/huge", body)
    page = ask(visit(alice), connection, "huge")
    assert "Only the beginning is shown" in page
    assert len(ExplorerAnswer.objects.get().text) == ExplorerAnswer.LONGEST
    assert ExplorerCall.objects.get().size <= api_client.PERSON_WAITS_BYTES + 100_000


@pytest.mark.parametrize(("kind", "sentence"), [("hang", "did not answer in time"), ("close", "broke before")])
def test_no_answer_at_all_is_told_in_a_sentence(
    kind: str, sentence: str, sandbox: Sandbox, visit: Visit, alice: User, connection: Connection, impatient: None
) -> None:
    sandbox.fault("/user", kind, times=None)
    assert sentence in ask(visit(alice), connection)
    assert ExplorerCall.objects.get().status is None


def test_when_too_enough_waiting_the_page_says_so_at_once(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    with limits.slot(connection.code), limits.slot(connection.code):
        assert "A request to SnapInspect is already running" in ask(visit(alice), connection)
    assert sandbox.calls() == []


def test_pressing_test_or_replace_while_too_enough_waiting_asks_nothing_and_says_so(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    browser = visit(alice)
    sentence = "A request to SnapInspect is already running"
    with limits.slot(connection.code), limits.slot(connection.code):
        for press in ("test", "replace-tokens"):
            path = f"/c/{connection.customer.code}/connections/{connection.code}/{press}/"
            assert sentence in browser.post(path, follow=True).text, press
    assert sandbox.calls() == []
    assert sandbox.exchanges() == 0
    connection.refresh_from_db()
    assert connection.state == State.CONNECTED


def test_a_web_process_with_no_thread_beside_the_places_is_warned_about(settings: Settings) -> None:
    settings.WEB_THREADS = limits.MAX_CALLS + limits.MAX_DOWNLOADS
    assert [warning.id for warning in checks.threads_are_left_while_snapinspect_hangs(None)] == ["integrations.W004"]
    settings.WEB_THREADS = limits.MAX_CALLS + limits.MAX_DOWNLOADS + 1
    assert checks.threads_are_left_while_snapinspect_hangs(None) == []


def test_a_dead_token_is_renewed_on_the_way(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    sandbox.control("POST", "revoke_all", {"kind": "access"})

    assert "12 Harbour Street" in ask(visit(alice), connection, "inspections")
    assert sandbox.exchanges() == 1


def test_R13_a_401_of_this_path_alone_is_shown_and_costs_no_exchange(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection
) -> None:
    answers(sandbox, "/secret", b'{"error": "not for you"}', 401)

    page = ask(visit(alice), connection, "secret")
    assert "HTTP 401" in page and "not for you" in page
    assert sandbox.exchanges() == 0
    connection.refresh_from_db()
    assert connection.state == State.CONNECTED


def test_no_token_is_on_the_page_in_the_command_or_in_the_rows(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection, settings: Settings
) -> None:
    token = next(t["token"] for t in sandbox.tokens() if t["live"] and t["kind"] == "access")
    escaped = "".join(f"\\u{ord(character):04x}" for character in token)
    answers(sandbox, "/echo", f'{{"you": "{token}", "a": "{escaped}"}} and text {token}'.encode())

    page = ask(visit(alice), connection, "echo?it's=1")
    assert "[token]" in page and SENTINEL not in page
    assert SENTINEL not in str([*ExplorerAnswer.objects.values(), *ExplorerCall.objects.values()])
    url = settings.SNAPINSPECT_API_URL + "echo?it"
    assert "Bearer $SNAPINSPECT_TOKEN" in page.replace("&quot;", '"') and url in page
    # Quoted for the shell: what follows the apostrophe is not a command.
    assert """it'"'"'s=1'""" in page.replace("&#x27;", "'").replace("&quot;", '"')


def test_the_history_says_who_asked_what_and_keeps_the_last_fifty_without_answers(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    owner = User.objects.create_user("olga@example.com", "correct horse battery")
    Membership.objects.create(user=owner, customer=acme, role=Role.OWNER)
    ExplorerCall.objects.bulk_create(
        ExplorerCall(customer=acme, connection=connection, by=alice, path=f"old/{number}", status=200)
        for number in range(60)
    )
    ask(visit(alice), connection, "inspections")
    page = ask(visit(owner), connection, "user")

    assert ExplorerCall.objects.count() == 50
    assert "alice@example.com" in page and "olga@example.com" in page and "old/59" in page and "old/11" not in page
    assert "Harbour Street" not in page, "that is what Alice was answered"
    assert "Harbour Street" in visit(alice).get(f"/c/{acme.code}/explorer/").text
    ask(visit(alice), connection, "user")
    assert ExplorerAnswer.objects.filter(by=alice).count() == 1, "the last answer only"


def test_an_answer_is_kept_for_ten_minutes(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    browser = visit(alice)
    ask(browser, connection, "inspections")
    ExplorerAnswer.objects.update(at=Now() - timedelta(minutes=11))

    page = browser.get(f"/c/{acme.code}/explorer/").text
    assert "Harbour Street" not in page and "no longer stored" in page
    jobs.sweep()
    assert not ExplorerAnswer.objects.exists() and ExplorerCall.objects.exists()


def test_disconnecting_deletes_the_answers_and_keeps_the_record(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    browser = visit(alice)
    ask(browser, connection)
    browser.post(f"/c/{acme.code}/connections/{connection.code}/disconnect/")

    assert not ExplorerAnswer.objects.exists()
    page = browser.get(f"/c/{acme.code}/explorer/").text
    assert "Request history" in page and "No connections yet" in page


def test_staff_ask_at_an_address_of_their_own_and_the_customer_sees_that_they_did(
    sandbox: Sandbox, visit: Visit, alice: User, staff: User, acme: Customer, connection: Connection
) -> None:
    where = f"/staff/explorer/{connection.code}/"
    page = ask(visit(staff), connection, "inspections", at=where)
    assert "Harbour Street" in page and "Acme Property" in page
    assert audited("explorer.asked_by_staff") == 1

    owners = visit(alice)
    assert "Support sent a request" in owners.get(f"/c/{acme.code}/connections/{connection.code}/activity/").text
    page = owners.get(f"/c/{acme.code}/explorer/").text
    assert "staff@example.com" in page and "Harbour Street" not in page
    assert visit(staff).get(f"/c/{acme.code}/explorer/").status_code == 404
    assert f"/staff/explorer/{connection.code}/" in (
        visit(staff).get(f"/admin/integrations/connection/{connection.pk}/change/").text
    )


def test_staff_without_the_permission_and_other_people_do_not_get_in(
    visit: Visit, alice: User, bob: User, connection: Connection
) -> None:
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    for person in (alice, bob):
        for method in ("GET", "POST"):
            answer: Any = visit(person).generic(method, f"/staff/explorer/{connection.code}/")
            assert answer.status_code == 403


def test_pressed_several_times_at_once_every_press_is_answered_and_one_answer_stays(
    sandbox: Sandbox, visit: Visit, alice: User, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "calls", limits.Limit(100, each=100))
    together = Barrier(4)

    def press() -> list[int | None]:
        try:
            mine = Connection.objects.select_related("customer").get(pk=connection.pk)
            asked = []
            for _ in range(5):
                together.wait(30)
                asked.append(explorer.ask(mine, "user", by=alice).status)
            return asked
        finally:
            database.close()

    with ThreadPoolExecutor(4) as threads:
        presses = [threads.submit(press) for _ in range(4)]
    assert [press.result() for press in presses] == [[200] * 5] * 4
    assert ExplorerAnswer.objects.get().by == alice

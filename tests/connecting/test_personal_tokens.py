"""Personal access tokens: asked for by e-mail, pasted later, proven, and used like any other token."""

from collections.abc import Callable

import pytest
from django.core import mail

from accounts.models import AuditEntry, Customer, User
from integrations.models import Connection, Kind, State, TokenPair
from integrations.snapinspect.token_pair import LONGEST_TOKEN
from tests.support.clients import COMPANY_OF_PAT, PAT, Sandbox, Visitor, work, work_as_if_later

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def issued(sandbox: Sandbox) -> str:
    return str(sandbox.control("POST", "personal", {"account": PAT})["token"])


def begin(browser: Visitor, customer: Customer) -> str:
    """Presses the button; returns the address of the page with the field."""
    return str(browser.post(f"/c/{customer.code}/personal/")["Location"])


def connect_personal(browser: Visitor, customer: Customer, token: str) -> Connection:
    browser.post(begin(browser, customer), {"token": token})
    work()
    return customer.connections.get(kind=Kind.PERSONAL)


def test_the_page_comes_before_the_token_and_waits_for_it(visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    where = begin(browser, acme)

    page = browser.get(where).text
    assert "Personal access token</label>" in page
    assert "support@snapinspect.com" in page
    assert begin(browser, acme) == where, "a second press made a second connection"
    assert "Enter the personal access token" in browser.get(f"/c/{acme.code}/").text


def test_a_pasted_token_is_proven_sealed_and_connects(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    token = issued(sandbox)
    connection = connect_personal(visit(alice), acme, f"  {token}\n")

    assert connection.badge == State.CONNECTED
    assert connection.company_id == COMPANY_OF_PAT
    assert sandbox.exchanges() == 0
    pair = TokenPair.objects.get()
    assert token.encode() not in bytes(pair.sealed_access)
    assert bytes(pair.sealed_refresh) == b""
    assert "Test connection" in visit(alice).get(f"/c/{acme.code}/").text


def test_a_token_that_snapinspect_does_not_know_says_replace_your_token(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    connection = connect_personal(visit(alice), acme, "not-a-token-of-theirs")

    assert connection.badge == State.NEEDS_RECONNECT
    assert "Replace it to continue" in visit(alice).get(f"/c/{acme.code}/").text
    assert TokenPair.objects.count() == 0


def test_R15_a_revoked_token_never_touches_the_exchange_and_is_replaced_in_place(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    token = issued(sandbox)
    connection = connect_personal(browser, acme, token)
    sandbox.control("POST", "revoke", {"token": token})

    work_as_if_later()
    work_as_if_later()

    assert acme.connections.get().badge == State.NEEDS_RECONNECT
    assert sandbox.exchanges() == 0
    assert [message.to for message in mail.outbox] == [[alice.email]]
    assert "needs a new token" in mail.outbox[0].subject

    browser.post(f"/c/{acme.code}/connections/{connection.code}/token/", {"token": issued(sandbox)})
    work()
    assert acme.connections.get().badge == State.CONNECTED
    assert acme.connections.get().code == connection.code


@pytest.mark.parametrize("text", ["", "two words", "käse", "line\nbreak", "x" * (LONGEST_TOKEN + 1)])
def test_what_cannot_be_a_token_is_refused_and_not_shown_again(
    text: str, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    response = browser.post(begin(browser, acme), {"token": text})

    assert response.status_code == 200
    assert not text or text not in response.text
    assert TokenPair.objects.count() == 0


def test_a_viewer_cannot_begin(visit: Visit, victor: User, acme: Customer) -> None:
    assert visit(victor).post(f"/c/{acme.code}/personal/").status_code == 403


def test_the_history_of_a_connection_tells_who_did_what_without_tokens(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.post(f"/c/{acme.code}/connections/{connection.code}/test/")

    page = browser.get(f"/c/{acme.code}/connections/{connection.code}/activity/").text
    lines = b"".join(
        browser.get(f"/c/{acme.code}/connections/{connection.code}/activity.csv").streaming_content  # type: ignore[attr-defined]
    ).decode()

    for words in (
        "Granted access",
        "Renewed the access",
        "Connected",
        "Tested the connection",
    ):
        assert words in page
        assert words in lines
    assert alice.email in page
    assert not [token["token"] for token in sandbox.tokens() if token["token"] in page + lines]


def test_the_exported_history_holds_no_formula(visit: Visit, alice: User, acme: Customer) -> None:
    connection = Connection.objects.create(customer=acme)
    AuditEntry.objects.create(customer=acme, subject=connection.code, kind="=HYPERLINK()", actor=alice)

    exported = visit(alice).get(f"/c/{acme.code}/connections/{connection.code}/activity.csv")
    lines = b"".join(exported.streaming_content).decode()  # type: ignore[attr-defined]
    assert "'=HYPERLINK()" in lines

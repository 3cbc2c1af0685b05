"""Personal access tokens: asked for by e-mail, pasted later, proven, and used like any other token."""

import re
from collections.abc import Callable

import pytest
from django.core import mail

from accounts.models import AuditEntry, Customer, User
from integrations.models import Connection, Kind, State, TokenPair
from integrations.snapinspect.token_pair import LONGEST_TOKEN
from integrations.views.forms import PersonalTokenForm
from tests.support.clients import (
    COMPANY_OF_PAT,
    OTHER,
    PAT,
    Sandbox,
    Visitor,
    everything_kept,
    work,
    work_as_if_later,
)

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def issued(sandbox: Sandbox) -> str:
    return str(sandbox.control("POST", "personal", {"account": PAT})["token"])


def page_for(customer: Customer) -> str:
    return f"/c/{customer.code}/personal/"


def with_address(browser: Visitor, customer: Customer) -> str:
    """Presses *Create a webhook address*; returns the address of the page with the field."""
    return str(browser.post(page_for(customer))["Location"])


def connect_personal(browser: Visitor, customer: Customer, token: str) -> Connection:
    assert browser.post(page_for(customer), {"token": token}).status_code == 302
    return customer.connections.get(kind=Kind.PERSONAL)


def test_opening_the_page_makes_nothing(visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    dashboard = browser.get(f"/c/{acme.code}/").text
    assert re.search(rf'<form method="get" action="{page_for(acme)}">', dashboard)
    entries = AuditEntry.objects.count()

    page = browser.get(page_for(acme)).text
    assert "Personal access token</label>" in page
    assert "support@snapinspect.com" in page
    assert (acme.connections.count(), AuditEntry.objects.count()) == (0, entries)


def test_an_owner_may_have_the_webhook_address_first_and_the_page_waits_for_the_token(
    sandbox: Sandbox, visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    browser = visit(alice)
    assert "Create a webhook address" in browser.get(page_for(acme)).text
    assert "Create a webhook address" not in visit(bob).get(page_for(acme)).text
    where = with_address(browser, acme)
    assert "/webhooks/snapinspect/" in browser.get(where).text
    assert with_address(browser, acme) == where, "a second press made a second connection"
    assert browser.get(page_for(acme))["Location"] == where
    assert "Enter the personal access token" in browser.get(f"/c/{acme.code}/").text

    browser.post(where, {"token": issued(sandbox)})
    assert acme.connections.get().badge == State.CONNECTED


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


def test_a_mistyped_token_is_refused_in_the_form_and_changes_and_mails_nothing(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    answer = browser.post(page_for(acme), {"token": "not-a-token-of-theirs"})
    assert answer.status_code == 200
    assert "SnapInspect does not accept this token." in answer.text
    assert "not-a-token" not in answer.text
    work()
    assert (acme.connections.count(), TokenPair.objects.count(), mail.outbox) == (0, 0, [])

    connection = connect_personal(browser, acme, issued(sandbox))
    before = everything_kept()
    answer = browser.post(f"/c/{acme.code}/connections/{connection.code}/token/", {"token": "mistyped"})
    assert "SnapInspect does not accept this token." in answer.text
    work()
    assert everything_kept() == before
    assert "needs your attention" not in browser.get(f"/c/{acme.code}/").text
    assert mail.outbox == []


def test_a_token_that_cannot_be_checked_is_not_saved(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    token = issued(sandbox)
    sandbox.fault("/user", "status", status=503, times=None)
    answer = visit(alice).post(page_for(acme), {"token": token})
    assert "so nothing was saved. Try again in a moment." in answer.text
    assert acme.connections.count() == 0


def test_a_token_of_another_company_is_refused_with_both_names(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = connect_personal(browser, acme, issued(sandbox))
    before = everything_kept()
    other = str(sandbox.control("POST", "personal", {"account": OTHER})["token"])
    answer = browser.post(f"/c/{acme.code}/connections/{connection.code}/token/", {"token": other})
    assert (
        "for Meadow Lettings (company 7001), but this connection is for Harbour Property (company 6847)" in answer.text
    )
    assert everything_kept() == before


def test_the_token_of_a_company_that_is_connected_goes_to_its_connection(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = connect_personal(browser, acme, issued(sandbox))
    assert "is already connected" in browser.post(page_for(acme), {"token": issued(sandbox)}, follow=True).text
    assert acme.connections.get().pk == connection.pk


def test_tokens_are_not_guessed_here(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    for number in range(PersonalTokenForm.MOST_REFUSED):
        browser.post(page_for(acme), {"token": f"guess-{number}"})
    asked = len(sandbox.calls("/user"))
    answer = browser.post(page_for(acme), {"token": issued(sandbox)})
    assert "Too many tokens were refused." in answer.text
    assert len(sandbox.calls("/user")) == asked


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
    assert acme.connections.get().badge == State.CONNECTED
    assert acme.connections.get().code == connection.code


@pytest.mark.parametrize("text", ["", "two words", "käse", "line\nbreak", "x" * (LONGEST_TOKEN + 1)])
def test_what_cannot_be_a_token_is_refused_and_not_shown_again(
    text: str, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    response = browser.post(page_for(acme), {"token": text})

    assert response.status_code == 200
    assert not text or text not in response.text
    assert TokenPair.objects.count() == 0


def test_a_viewer_cannot_begin(visit: Visit, victor: User, acme: Customer) -> None:
    assert visit(victor).get(page_for(acme)).status_code == 403
    assert visit(victor).post(page_for(acme)).status_code == 403


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

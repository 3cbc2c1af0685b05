"""A sole owner can leave a company: by handing it over, or by deleting it. And who may not have a second factor yet."""

from collections.abc import Callable

import pytest
from allauth.account.models import EmailAddress
from django.core import mail

from accounts.models import AuditEntry, Customer, Role, User
from integrations.models import Event
from tests.accounts.test_own_account import signed_in
from tests.support.clients import Sandbox, Visitor, quick_connect
from tests.support.many_events import make_events

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def test_a_sole_owner_is_shown_both_ways_out_wherever_they_try_to_leave(alice: User, bob: User, acme: Customer) -> None:
    browser = signed_in(alice)
    for page in (f"/c/{acme.code}/people/leave/", "/accounts/close/"):
        text = browser.get(page).text
        assert "You are the only owner of Acme Property." in text
        assert f'href="/c/{acme.code}/people/"' in text
        assert f'href="/c/{acme.code}/delete/"' in text
        assert "Close my account" not in text and ">Leave<" not in text
    assert f'href="/c/{acme.code}/delete/"' in browser.get(f"/c/{acme.code}/company/").text

    acme.memberships.get(user=bob).change_role(Role.OWNER)
    for page in (f"/c/{acme.code}/people/leave/", "/accounts/close/"):
        assert "only owner" not in browser.get(page).text


def test_an_owner_deletes_the_company_after_reading_what_goes_and_showing_the_password(
    visit: Visit, alice: User, bob: User, acme: Customer, sandbox: Sandbox
) -> None:
    connection = quick_connect(acme, sandbox, by=alice)
    make_events(connection, 3)
    page = f"/c/{acme.code}/delete/"
    assert visit(bob).get(page).status_code == 403
    assert visit(alice).post(page)["Location"].startswith("/accounts/reauthenticate/")
    live = [token["token"] for token in sandbox.tokens() if token["live"]]
    assert live and acme.connections.count() == 1

    browser = signed_in(alice)
    asked = " ".join(browser.get(page).text.split())
    for words in ("Delete Acme Property?", "3 events", "This cannot be undone", "<li>Harbour Property</li>"):
        assert words in asked
    assert Customer.objects.filter(pk=acme.pk).exists()

    told = browser.post(page, follow=True).text
    assert "Acme Property is deleted." in told
    assert not Customer.objects.filter(pk=acme.pk).exists()
    assert not Event.objects.exists()
    assert not any(sandbox.accepts(token) for token in live)
    assert AuditEntry.objects.get(kind="customer.deleted").actor == alice


def test_who_has_not_confirmed_their_address_gets_the_mail_for_it_where_a_second_factor_needs_it(alice: User) -> None:
    address = EmailAddress.objects.create(user=alice, email=alice.email, primary=True, verified=False)
    browser = signed_in(alice)
    page = browser.get("/accounts/2fa/totp/activate/", follow=True).text
    assert "Confirm your email address first." in page
    assert f"Confirm {alice.email} before you set up a second factor." in page
    mail.outbox.clear()
    browser.post("/accounts/email/", {"email": alice.email, "action_send": ""})
    assert [message.to for message in mail.outbox] == [[alice.email]]

    EmailAddress.objects.filter(pk=address.pk).update(verified=True)
    assert "before you set up a second factor" not in browser.get("/accounts/2fa/").text

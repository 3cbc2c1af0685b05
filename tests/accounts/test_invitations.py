"""Invitations by mail: one link, one address, one use, a week; and no word about who has an account."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.db import connection as database
from django.utils import timezone
from pytest_django import Settings

from accounts import invitations
from accounts.models import AuditEntry, Customer, Invitation, Membership, Role, User
from connectapp.redaction import redact
from tests.accounts.test_people import roles
from tests.accounts.test_sign_up import buttons, sign_in, without_numbers
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
DORA = "dora@example.com"
PASSWORD = "correct horse battery"


@pytest.fixture
def dora(db: None) -> User:
    return User.objects.create_user(DORA, PASSWORD)


def invite(browser: Visitor, customer: Customer, email: str = DORA, role: str = "member") -> str:
    """Fills the form in; returns the page that answers."""
    where = f"/c/{customer.code}/people/invite/"
    return str(browser.post(where, {"email": email, "role": role}, follow=True).text)


def newest_link() -> str:
    """The path of the one link in the mail sent last."""
    (link,) = re.findall(r"http://localhost(/\S+)", str(mail.outbox[-1].body))
    return str(link)


def invited(browser: Visitor, customer: Customer, email: str = DORA, role: str = "member") -> str:
    invite(browser, customer, email, role)
    assert mail.outbox[-1].to == [email.lower()]
    return newest_link()


@pytest.mark.parametrize("verification", ["mandatory", "optional", "none"])
@pytest.mark.parametrize("signup_open", [True, False])
def test_who_has_no_account_makes_one_by_the_link_and_is_in(
    signup_open: bool, verification: str, settings: Settings, visit: Visit, alice: User, acme: Customer
) -> None:
    settings.SIGNUP_OPEN, settings.ACCOUNT_EMAIL_VERIFICATION = signup_open, verification
    link = invited(visit(alice), acme, role="viewer")
    browser = Visitor()

    assert "Join Acme Property" in browser.get(link).text
    assert 'value="dora@example.com"' in browser.get(f"{link}signup/").text
    answer = browser.post(f"{link}signup/", {"email": "mallory@example.com", "password1": PASSWORD})

    assert answer["Location"] == f"/c/{acme.code}/"
    assert browser.get(f"/c/{acme.code}/").status_code == 200
    assert roles(acme) == {"alice": "owner", "dora": "viewer"}
    assert Customer.objects.count() == 1
    assert EmailAddress.objects.get(user__email=DORA).verified
    assert len(mail.outbox) == 1, "the mailed link has proven the address"
    joined = AuditEntry.objects.get(kind="member.joined")
    assert (joined.customer, joined.actor_name, joined.detail["role"]) == (acme, DORA, "viewer")


def test_who_has_an_account_signs_in_and_joins(visit: Visit, alice: User, dora: User, acme: Customer) -> None:
    link = invited(visit(alice), acme, email="Dora@Example.COM")
    browser = Visitor()
    assert f'href="/accounts/login/?next={link}"' in browser.get(link).text
    assert browser.post(link).status_code == 200, "a press without signing in asks the same again"

    browser.post("/accounts/login/", {"login": DORA, "password": PASSWORD, "next": link})
    assert buttons(browser.get(link).text).count("Join") == 1
    answer = browser.post(link)

    assert answer["Location"] == f"/c/{acme.code}/"
    assert roles(acme)["dora"] == "member"


def test_an_address_that_is_confirmed_beside_the_one_for_signing_in_counts_too(
    visit: Visit, alice: User, dora: User, acme: Customer
) -> None:
    second = EmailAddress.objects.create(user=dora, email="d@second.example")
    link = invited(visit(alice), acme, email="d@second.example")
    browser = visit(dora)
    browser.post(link)
    assert "dora" not in roles(acme), "not confirmed yet"

    second.set_verified()
    browser.post(link)
    assert "dora" in roles(acme)


def test_the_link_works_once(visit: Visit, alice: User, dora: User, acme: Customer) -> None:
    link = invited(visit(alice), acme)
    visit(dora).post(link)
    Membership.objects.get(user=dora).end()

    answers = [visit(dora).post(link), visit(dora).get(link), Visitor().post(f"{link}signup/", {"password1": PASSWORD})]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert all("This invitation no longer works" in answer.text for answer in answers)
    assert "dora" not in roles(acme)


def test_pressed_by_many_at_the_same_moment_the_link_makes_one_member(
    visit: Visit, alice: User, dora: User, acme: Customer
) -> None:
    link = invited(visit(alice), acme)
    found = invitations.find(link.split("/")[3])
    assert found is not None

    def press(_: int) -> bool:
        try:
            return invitations.accept(found, dora)
        finally:
            database.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(press, range(8))) == [False] * 7 + [True]
    assert acme.memberships.filter(user=dora).count() == 1
    assert AuditEntry.objects.filter(kind="member.joined").count() == 1


def test_somebody_else_who_is_signed_in_is_told_so_and_shown_the_way_out(
    visit: Visit, alice: User, charlie: User, acme: Customer
) -> None:
    link = invited(visit(alice), acme)
    browser = visit(charlie)

    for page in (browser.get(link), browser.post(link)):
        assert "You are signed in as <strong>charlie@example.com</strong>" in page.text
        assert "Join" not in buttons(page.text)
    assert "charlie" not in roles(acme)
    answer = browser.post("/accounts/logout/", {"next": link})
    assert answer["Location"] == link
    assert "Create an account" in browser.get(link).text


@pytest.mark.parametrize("over", ["expired", "withdrawn", "made up", "NUL"])
def test_a_link_that_is_over_says_so_calmly_and_lets_nobody_in(
    over: str, visit: Visit, alice: User, dora: User, acme: Customer
) -> None:
    browser = visit(alice)
    link = invited(browser, acme)
    row = Invitation.objects.get()
    where = f"/c/{acme.code}/people/invitations/{row.pk}/"
    if over == "expired":
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert "Expired" in browser.get(f"/c/{acme.code}/people/").text
    elif over == "withdrawn":
        assert "is withdrawn" in browser.post(f"{where}withdraw/", follow=True).text
    else:
        link = f"/accounts/invitations/{'nul%00' if over == 'NUL' else 'made-up'}/"

    for visitor in (Visitor(), visit(dora)):
        for answer in (visitor.get(link), visitor.post(link)):
            assert answer.status_code == 404
            assert "This invitation no longer works" in answer.text
    assert "dora" not in roles(acme)


def test_an_invitation_works_for_seven_days_and_sent_again_for_seven_more(
    visit: Visit, alice: User, dora: User, acme: Customer
) -> None:
    browser = visit(alice)
    invited(browser, acme)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(days=30))
    invite(browser, acme, role="owner")

    row = Invitation.objects.get()
    assert row.role == Role.OWNER
    assert timedelta(days=6, hours=23) < row.expires_at - timezone.now() <= timedelta(days=7)
    visit(dora).post(newest_link())
    assert roles(acme)["dora"] == "owner"


def test_the_table_holds_nothing_that_would_let_its_reader_in(visit: Visit, alice: User, acme: Customer) -> None:
    token = invited(visit(alice), acme).split("/")[3]

    assert len(token) >= 43
    assert token not in str(list(Invitation.objects.values()))
    assert token not in str(list(AuditEntry.objects.values()))
    assert token not in redact(f'"GET /accounts/invitations/{token}/ HTTP/1.1" 200')
    assert token not in visit(alice).get(f"/c/{acme.code}/people/").text


def test_neither_the_owner_nor_who_holds_the_link_learns_whether_the_address_has_an_account(
    visit: Visit, alice: User, dora: User, acme: Customer
) -> None:
    browser = visit(alice)
    told, shown = [], []
    for email in (DORA, "nobody@example.com"):
        page = invite(browser, acme, email)
        told.append("We sent an invitation to" in page)
        link = newest_link()
        page = without_numbers(Visitor().get(link).text)
        shown.append(page.replace(email, "").replace(link, "").replace(link.replace("/", "%2F"), ""))

    assert told == [True, True]
    assert shown[0] == shown[1]


def test_a_member_is_not_invited_again(visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    assert "is already a member" in invite(visit(alice), acme, "BOB@example.com")
    assert mail.outbox == []


def test_who_has_joined_meanwhile_keeps_their_role(visit: Visit, alice: User, dora: User, acme: Customer) -> None:
    link = invited(visit(alice), acme, role="viewer")
    Membership.objects.create(user=dora, customer=acme, role=Role.OWNER)

    assert visit(dora).post(link)["Location"] == f"/c/{acme.code}/"
    assert roles(acme)["dora"] == "owner"


def test_who_has_an_account_and_signs_up_is_sent_to_signing_in(
    visit: Visit, alice: User, dora: User, acme: Customer, settings: Settings
) -> None:
    for verification in ("none", "mandatory"):
        settings.ACCOUNT_EMAIL_VERIFICATION = verification
        link = invited(visit(alice), acme)
        answer = Visitor().post(f"{link}signup/", {"password1": PASSWORD})
        assert answer.status_code == 200
        assert re.search(r"already", answer.text)
        assert Invitation.objects.live().count() == 1
    assert User.objects.filter(email=DORA).count() == 1


def test_who_was_removed_or_demoted_can_invite_nobody(visit: Visit, alice: User, bob: User, acme: Customer) -> None:
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    browser = visit(bob)
    Membership.objects.filter(user=bob).update(role=Role.MEMBER)

    assert browser.post(f"/c/{acme.code}/people/invite/", {"email": DORA, "role": "owner"}).status_code == 403
    assert mail.outbox == []


def test_staff_make_a_customer_and_invite_its_first_owner(visit: Visit, settings: Settings) -> None:
    settings.SIGNUP_OPEN, settings.ACCOUNT_EMAIL_VERIFICATION = False, "mandatory"
    staff = User.objects.create_superuser("staff@example.com", PASSWORD)
    empty = {
        f"{prefix}-{name}": 0 for prefix in ("memberships", "invitations") for name in ("TOTAL_FORMS", "INITIAL_FORMS")
    }

    answer = visit(staff).post(
        "/admin/accounts/customer/add/", {"name": "New Lettings", "invite_owner": DORA, **empty}, follow=True
    )

    assert "An invitation was sent to dora@example.com" in answer.text
    customer = Customer.objects.get()
    assert customer.memberships.count() == 0
    browser = Visitor()
    browser.post(f"{newest_link()}signup/", {"password1": PASSWORD})
    assert roles(customer) == {"dora": "owner"}
    assert browser.get("/", follow=True).status_code == 200
    assert sign_in(Visitor(), DORA)["Location"] == "/"

"""Invitations that are refused: invalid fields, the limit of a day, mail that cannot be sent, links in a name."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db.models import F
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import Settings

from accounts import branded_mail, invitations
from accounts.models import AuditEntry, Customer, Invitation, Membership, Role, User
from tests.accounts.test_invitations import DORA, dora, invite, invited
from tests.accounts.test_people import roles
from tests.accounts.test_sign_up import NOBODY_ANSWERS
from tests.support.clients import Visitor, send_mail_through

__all__ = ["dora"]  # fixtures
pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "nobody", "role": "member"},
        {"email": DORA, "role": "emperor"},
        {"email": "nul\0@example.com", "role": "member"},
        {"email": "x" * 250 + "@example.com", "role": "member"},
        {"email": f"{DORA}\nBcc: everybody@example.com", "role": "member"},
    ],
    ids=["nothing", "no address", "no role", "NUL", "too long", "two lines"],
)
def test_what_is_no_invitation_is_refused_beside_its_field(
    body: dict[str, Any], visit: Visit, alice: User, acme: Customer
) -> None:
    answer = visit(alice).post(f"/c/{acme.code}/people/invite/", body)

    assert (answer.status_code, "errorlist" in answer.text) == (200, True)
    assert mail.outbox == []
    assert not Invitation.objects.exists()


def test_the_invitations_of_a_day_are_limited_by_company_and_by_person(
    visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    browser = visit(alice)
    for number in range(invitations.MAX_PER_DAY):
        invite(browser, acme, f"person{number}@example.com")
        if number % 3 == 0:
            row = Invitation.objects.latest("pk")
            browser.post(f"/c/{acme.code}/people/invitations/{row.pk}/withdraw/")
    sent = len(mail.outbox)
    assert sent == invitations.MAX_PER_DAY

    other = Customer.objects.create_with_owner("Another of Alice's", owner=alice)
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    Invitation.objects.update(expires_at=timezone.now() + timedelta(days=6))  # no double click
    again = f"/c/{acme.code}/people/invitations/{Invitation.objects.pending().first().pk}/again/"  # type: ignore[union-attr]
    for page in (
        invite(browser, acme),
        invite(browser, other),
        invite(visit(bob), acme),
        browser.post(again, follow=True).text,
    ):
        assert "Please go on tomorrow" in page
    assert len(mail.outbox) == sent

    AuditEntry.objects.update(at=timezone.now() - timedelta(days=1, minutes=1))
    assert "We sent an invitation" in invite(browser, acme)


def test_a_mail_that_cannot_be_sent_leaves_no_invitation_behind(
    visit: Visit, alice: User, acme: Customer, settings: Settings
) -> None:
    send_mail_through(settings, NOBODY_ANSWERS)

    page = invite(visit(alice), acme)

    assert "We could not send the email, so nobody was invited" in page
    assert f'value="{DORA}"' in page, "nothing to type again"
    assert not Invitation.objects.exists()
    assert AuditEntry.objects.filter(kind="invitation.not_sent").count() == 1


def test_a_mail_that_fails_late_does_not_end_an_invitation_that_was_mailed_meanwhile(
    alice: User, dora: User, acme: Customer, rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = branded_mail.send

    def fail_late(*given: Any, **options: Any) -> None:
        monkeypatch.setattr(branded_mail, "send", send)
        Invitation.objects.update(expires_at=F("expires_at") - invitations.DOUBLE_CLICK)
        invitations.invite(rf.get("/"), acme, DORA, Role.VIEWER, by=alice)
        raise OSError

    monkeypatch.setattr(branded_mail, "send", fail_late)
    with pytest.raises(invitations.CannotInvite):
        invitations.invite(rf.get("/"), acme, DORA, Role.VIEWER, by=alice)

    assert Invitation.objects.live().count() == len(mail.outbox) == 1


def test_a_second_mail_that_cannot_be_sent_leaves_the_first_link_working(
    visit: Visit, alice: User, dora: User, acme: Customer, settings: Settings
) -> None:
    link = invited(visit(alice), acme, role="viewer")
    before = Invitation.objects.values().get()
    send_mail_through(settings, NOBODY_ANSWERS)

    assert "We could not send the email" in invite(visit(alice), acme, role="owner")

    assert Invitation.objects.values().get() == before
    visit(dora).post(link)
    assert roles(acme)["dora"] == "viewer"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Smith & Co.", "Smith & Co."),
        ("Win now http://evil.example/x", "Win now http evil example x"),
        ("www.evil.example", "www evil example"),
        ("call me@evil.example", "call me evil example"),
        ("Two\r\nBcc: all@example.com", "Two Bcc: all example com"),
    ],
)
def test_a_companys_name_makes_no_link_and_no_second_line_in_a_mail_to_an_outsider(
    name: str, words: str, visit: Visit, alice: User, acme: Customer
) -> None:
    Customer.objects.filter(pk=acme.pk).update(name=name)

    invited(visit(alice), acme)

    letter = mail.outbox[-1]
    assert invitations.name_without_links(name) == words
    assert str(letter.subject).endswith(f"join {words}")
    assert len(re.findall(r"https?:", str(letter.body))) == 1
    assert "evil.example" not in f"{letter.subject} {letter.body}"

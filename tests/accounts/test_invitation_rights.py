"""An invitation is as good as the right of who sent it, every mailed link works, and a double click sends one mail."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connections

from accounts.models import Customer, Invitation, Membership, Role, User
from integrations.connecting import links
from tests.accounts.test_invitations import DORA, PASSWORD, invite, invited, newest_link
from tests.accounts.test_people import roles
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def dora(db: None) -> User:
    return User.objects.create_user(DORA, PASSWORD)


@pytest.fixture
def olive(acme: Customer) -> User:
    """A second owner."""
    olive = User.objects.create_user("olive@example.com", PASSWORD)
    Membership.objects.create(user=olive, customer=acme, role=Role.OWNER)
    return olive


def sent_long_ago() -> None:
    for invitation in Invitation.objects.all():
        invitation.expires_at -= timedelta(minutes=1)
        invitation.save()


@pytest.mark.parametrize("change", ["removed", "demoted", "left", "removed by staff", "demoted by staff", "deleted"])
def test_it_ends_with_the_right_of_who_sent_it(
    change: str, visit: Visit, alice: User, olive: User, dora: User, acme: Customer
) -> None:
    link = invited(visit(olive), acme)
    membership = Membership.objects.get(user=olive)
    where = f"/c/{acme.code}/people/{membership.pk}/"
    if change == "removed":
        visit(alice).post(f"{where}remove/")
    elif change == "demoted":
        visit(alice).post(f"{where}role/", {"role": "member"})
    elif change == "left":
        visit(olive).post(f"/c/{acme.code}/people/leave/")
    elif change == "removed by staff":
        Membership.objects.filter(pk=membership.pk).delete()
    elif change == "demoted by staff":
        Membership.objects.filter(pk=membership.pk).update(role=Role.VIEWER)
    else:
        olive.delete()

    assert not Membership.objects.filter(user__email=olive.email, role=Role.OWNER).exists()
    for visitor in (Visitor(), visit(dora)):
        assert visitor.get(link).status_code == visitor.post(link).status_code == 404
    assert "dora" not in roles(acme)
    if not change.endswith("staff") and change != "deleted":
        assert Invitation.objects.get().withdrawn_at is not None
        invite(visit(alice), acme)
        visit(dora).post(newest_link())
        assert "dora" in roles(acme)


def test_every_mailed_link_works(visit: Visit, alice: User, dora: User, acme: Customer) -> None:
    browser = visit(alice)
    first = invited(browser, acme)
    sent_long_ago()
    page = browser.post(f"/c/{acme.code}/people/invitations/{Invitation.objects.get().pk}/again/", follow=True).text
    assert "again" in page
    assert len(mail.outbox) == 2
    assert newest_link() == first
    visit(dora).post(first)
    assert "dora" in roles(acme)


def test_a_double_click_sends_one_mail(visit: Visit, alice: User, acme: Customer) -> None:
    browsers = [visit(alice) for _ in range(4)]

    def press(browser: Visitor) -> str:
        try:
            return invite(browser, acme)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(press, browsers))

    assert all("We sent an invitation" in page for page in pages)
    assert len(mail.outbox) == 1
    invite(browsers[0], acme, role="owner")
    assert len(mail.outbox) == 2, "another role is another press"


@pytest.mark.parametrize("change", ["removed", "demoted"])
def test_a_colleagues_link_ends_with_the_right_of_who_made_it(
    change: str, visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    secret = links.issue(customer=acme, by=bob)
    path = f"/c/{acme.code}/connect/links/{secret}/"
    assert "no longer works" not in visit(alice).get(path).text
    membership = Membership.objects.get(user=bob)
    if change == "removed":
        membership.end()
    else:
        membership.change_role(Role.VIEWER)

    page = visit(alice).post(path)
    link = links.find(acme, secret)
    assert link is not None and links.invalid_reason(link) == "withdrawn"
    assert (page.status_code, "can no longer connect for this company" in page.text) == (200, True)

"""Customers and people in the Django admin: deleting them, roles, the second factor of staff."""

from collections.abc import Callable

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Permission
from django.core.cache import cache
from pytest_django import Settings

from accounts import audit
from accounts.models import AuditEntry, Customer, LastOwner, Membership, Role, User
from integrations.connecting import customer_deletion
from integrations.models import Connection, Delivery, Event, State, TokenPair
from tests.pages.test_admin import act, asked, by_staff, connection, staff, token_in_use
from tests.pages.test_event import announce, upload
from tests.support.clients import Sandbox, Visitor, audited

__all__ = ["connection", "staff"]  # fixtures
pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def test_a_customer_is_deleted_by_a_superuser_after_its_access_is_ended_and_leaves_one_line(
    staff: Visitor, connection: Connection, sandbox: Sandbox, acme: Customer, alice: User, charlie: User
) -> None:
    announce(staff, upload(sandbox))
    kept = Customer.objects.exclude(pk=acme.pk).get()

    page = asked(staff, "accounts/customer", "delete_customers", acme.pk)
    assert "1 connections" in page
    assert "1 events" in page
    assert "disconnect all first" in page
    assert "disconnect all first" in act(staff, "accounts/customer", "delete_customers", acme.pk)
    assert TokenPair.objects.count() == 1
    before = token_in_use(sandbox)

    assert "Disconnect all: done for 1." in act(staff, "accounts/customer", "disconnect_all", acme.pk)
    assert not sandbox.accepts(before)
    assert "Delete: done for 1." in act(staff, "accounts/customer", "delete_customers", acme.pk)

    assert list(Customer.objects.all()) == [kept]
    for gone in (Connection, TokenPair, Event, Delivery):
        assert not gone.objects.exists()
    assert User.objects.filter(pk=alice.pk).exists()
    entry = AuditEntry.objects.get(kind="customer.deleted")
    assert (entry.customer, entry.subject, entry.actor and entry.actor.email) == (None, acme.code, "staff@example.com")
    assert not AuditEntry.objects.filter(subject=connection.code).exists()


def test_a_customer_with_a_reconnect_on_its_way_is_not_deleted(
    staff: Visitor, connection: Connection, acme: Customer
) -> None:
    # Somebody came back with new tokens after everything was disconnected: they would be lost without an end there.
    Connection.objects.update(state=State.DISCONNECTED)
    TokenPair.objects.update(role=TokenPair.Role.CANDIDATE)

    assert "disconnect all first" in act(staff, "accounts/customer", "delete_customers", acme.pk)
    assert not customer_deletion.delete(acme, by=User.objects.get(email="staff@example.com"), seconds=10)
    assert TokenPair.objects.count() == 1


def test_a_delivery_that_another_customer_shares_stays_when_one_is_deleted(
    staff: Visitor, connection: Connection, sandbox: Sandbox, acme: Customer, visit: Visit, charlie: User
) -> None:
    other = visit(charlie).connect(charlie.customers.get(), sandbox)
    announce(staff, upload(sandbox))
    assert Event.objects.count() == 2

    act(staff, "accounts/customer", "disconnect_all", acme.pk)
    act(staff, "accounts/customer", "delete_customers", acme.pk)

    assert Event.objects.get().connection == other
    assert Delivery.objects.count() == 1


def test_only_a_superuser_deletes_customers_and_people(visit: Visit, acme: Customer, bob: User) -> None:
    person = User.objects.create_user("clerk@example.com", is_staff=True)
    person.user_permissions.set(Permission.objects.all())
    clerk = visit(person)

    act(clerk, "accounts/customer", "delete_customers", acme.pk)
    act(clerk, "accounts/user", "delete_people", bob.pk)
    assert clerk.post(f"/admin/accounts/customer/{acme.pk}/delete/", {"post": "yes"}).status_code == 403
    assert clerk.post(f"/admin/accounts/user/{bob.pk}/delete/", {"post": "yes"}).status_code == 403

    assert Customer.objects.filter(pk=acme.pk).exists()
    assert User.objects.filter(pk=bob.pk).exists()


def test_staff_who_may_edit_people_cannot_make_themselves_a_superuser_or_take_one_over(visit: Visit) -> None:
    boss = User.objects.create_superuser("boss@example.com", "correct horse battery")
    person = User.objects.create_user("clerk@example.com", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename__endswith="_user"))
    clerk = visit(person)

    for user in (person, boss):
        address = f"/admin/accounts/user/{user.pk}/"
        clerk.post(f"{address}change/", {"email": user.email, "is_superuser": "on", "is_staff": "on"})
        assert clerk.get(f"{address}password/").status_code == 403
    person.refresh_from_db()
    assert not person.is_superuser


def test_a_person_is_deleted_unless_a_customer_would_lose_its_only_owner(
    staff: Visitor, acme: Customer, alice: User, bob: User, connection: Connection
) -> None:
    assert "the only owner of Acme Property" in asked(staff, "accounts/user", "delete_people", alice.pk)
    assert "is the only owner" in act(staff, "accounts/user", "delete_people", alice.pk)
    Membership.objects.filter(user=bob).update(role=Role.OWNER)

    assert "Delete: done for 1." in act(staff, "accounts/user", "delete_people", alice.pk)

    assert not User.objects.filter(pk=alice.pk).exists()
    assert audited("connect.connected") == 1
    assert by_staff("person.deleted") == 1


def test_who_cannot_sign_in_is_no_other_owner_here_as_elsewhere(
    staff: Visitor, acme: Customer, alice: User, bob: User
) -> None:
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    User.objects.filter(pk=bob.pk).update(is_active=False)

    assert "is the only owner" in act(staff, "accounts/user", "delete_people", alice.pk)
    with pytest.raises(LastOwner):
        acme.memberships.get(user=alice).end()
    assert acme.has_other_owner(bob)


def test_staff_cannot_part_a_persons_address_from_the_one_they_confirmed(staff: Visitor, bob: User) -> None:
    page = staff.get(f"/admin/accounts/user/{bob.pk}/change/")
    assert "People change their address themselves" in page.text
    assert 'name="email"' not in page.text

    staff.post(f"/admin/accounts/user/{bob.pk}/change/", {"email": "eve@example.com", "first_name": "Bob"})
    bob.refresh_from_db()
    assert bob.email == "bob@example.com"


@pytest.mark.parametrize("path", ["/admin/", "/admin/accounts/customer/", "/staff/registration/"])
def test_in_production_staff_without_a_second_factor_are_led_to_set_one_up(
    path: str, visit: Visit, settings: Settings
) -> None:
    settings.STAFF_NEED_SECOND_FACTOR = True
    person = User.objects.create_superuser("staff@example.com", "correct horse battery")
    browser = visit(person)

    answer = browser.get(path)
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/2fa/")
    assert "Staff need a second factor" in browser.get("/accounts/2fa/").text
    Authenticator.objects.create(user=person, type=Authenticator.Type.RECOVERY_CODES, data={})
    assert browser.get(path).status_code == 302

    Authenticator.objects.create(user=person, type=Authenticator.Type.TOTP, data={})
    assert browser.get(path).status_code == 200


def test_the_admin_is_signed_in_to_like_everything_else(alice: User) -> None:
    cache.clear()  # sign-ins are counted
    stranger = Visitor()

    assert stranger.get("/admin/login/?next=/admin/")["Location"].startswith("/accounts/login/?next=")
    assert stranger.post("/admin/login/", {"username": "alice@example.com", "password": "x"})["Location"].startswith(
        "/accounts/login/"
    )
    stranger.post("/accounts/login/", {"login": alice.email, "password": "correct horse battery"})
    assert stranger.get("/admin/login/").status_code == 403
    assert stranger.get("/admin/").status_code == 302


def test_what_staff_change_about_who_belongs_to_a_customer_stands_in_its_trail(
    staff: Visitor, acme: Customer, alice: User, bob: User, victor: User
) -> None:
    me = User.objects.get(email="staff@example.com")
    staff.post("/admin/accounts/membership/add/", {"user": me.pk, "customer": acme.pk, "role": "owner"})
    rows = list(acme.memberships.order_by("pk"))
    below = {"memberships-TOTAL_FORMS": "4", "memberships-INITIAL_FORMS": "4", "name": acme.name}
    below |= {"invitations-TOTAL_FORMS": "0", "invitations-INITIAL_FORMS": "0"}
    for number, row in enumerate(rows):
        role = "viewer" if row.user == bob else row.role
        fields = {"id": row.pk, "customer": acme.pk, "user": row.user_id, "role": role}
        below |= {f"memberships-{number}-{name}": str(value) for name, value in fields.items()}
    below["memberships-2-DELETE"] = "on"
    assert staff.post(f"/admin/accounts/customer/{acme.pk}/change/", below).status_code == 302
    act(staff, "accounts/user", "delete_people", bob.pk)

    entries = AuditEntry.objects.filter(customer=acme, actor=me).order_by("pk")
    assert [(entry.kind, entry.detail["person"], entry.detail["role"]) for entry in entries] == [
        ("member.set_by_staff", me.email, "owner"),
        ("member.set_by_staff", bob.email, "viewer"),
        ("member.removed_by_staff", victor.email, "viewer"),
        ("member.removed_by_staff", bob.email, "viewer"),
    ]


def test_who_did_something_is_told_after_their_account_is_gone(staff: Visitor, acme: Customer, bob: User) -> None:
    entry = audit.record("connect.started", customer=acme, actor=bob)
    bob.delete()
    for page in (f"auditentry/{entry.pk}", f"customer/{acme.pk}"):
        assert "bob@example.com" in staff.get(f"/admin/accounts/{page}/change/").text

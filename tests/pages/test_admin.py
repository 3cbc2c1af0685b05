"""What staff do in the Django admin: asked about first, done row by row, bounded, and in the audit trail."""

from collections.abc import Callable

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Permission
from django.core.cache import cache
from pytest_django import Settings

from accounts import audit
from accounts.admin import confirmed_actions
from accounts.models import AuditEntry, Customer, LastOwner, Membership, Role, User
from integrations.connecting import customer_deletion
from integrations.models import Connection, Delivery, Event, State, TokenPair
from tests.pages.test_event import announce, deliver, upload
from tests.support.clients import Sandbox, Visitor, audited, badge, work

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
CONNECTION, EVENT, DELIVERY = "integrations/connection", "integrations/event", "integrations/delivery"


@pytest.fixture
def staff(visit: Visit) -> Visitor:
    return visit(User.objects.create_superuser("staff@example.com", "correct horse battery"))


@pytest.fixture
def connection(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    return visit(alice).connect(acme, sandbox)


def asked(staff: Visitor, where: str, action: str, *chosen: int, **fields: str) -> str:
    """The page that an action leads to first."""
    return staff.post(
        f"/admin/{where}/", {"action": action, "_selected_action": [str(pk) for pk in chosen], **fields}, follow=True
    ).text


def act(staff: Visitor, where: str, action: str, *chosen: int, **fields: str) -> str:
    """The page after an action that was asked about and confirmed."""
    return asked(staff, where, action, *chosen, sure="yes", **fields)


def token_in_use(sandbox: Sandbox) -> str:
    return next(str(token["token"]) for token in sandbox.tokens() if token["live"] and token["kind"] == "access")


def by_staff(kind: str) -> int:
    return AuditEntry.objects.filter(kind=kind, actor__email="staff@example.com").count()


@pytest.mark.parametrize("action", ["check_now", "replace_tokens", "require_reconnect", "disconnect"])
def test_an_action_asks_first_and_changes_nothing_until_it_is_confirmed(
    action: str, staff: Visitor, connection: Connection, sandbox: Sandbox
) -> None:
    before = [*Connection.objects.values(), *TokenPair.objects.values()], AuditEntry.objects.count(), sandbox.calls()

    page = asked(staff, CONNECTION, action, connection.pk)

    assert 'name="sure"' in page
    assert connection.label in page
    after = [*Connection.objects.values(), *TokenPair.objects.values()], AuditEntry.objects.count(), sandbox.calls()
    assert after == before


def test_check_now_leaves_the_asking_to_a_worker(staff: Visitor, connection: Connection, sandbox: Sandbox) -> None:
    sandbox.control("DELETE", "log")

    assert "Check now: done for 1." in act(staff, CONNECTION, "check_now", connection.pk)
    assert sandbox.calls() == []
    work()
    assert len(sandbox.calls("/user")) == 1
    assert by_staff("connection.check_asked") == 1


def test_replaced_tokens_are_other_tokens(staff: Visitor, connection: Connection) -> None:
    old = TokenPair.objects.get().fingerprint

    assert "Replace tokens: done for 1." in act(staff, CONNECTION, "replace_tokens", connection.pk)
    assert TokenPair.objects.get().fingerprint != old
    assert by_staff("tokens.replacing") == 1


def test_require_reconnect_ends_the_access_tells_the_owners_and_stays_until_they_reconnect(
    staff: Visitor, connection: Connection, sandbox: Sandbox, visit: Visit, alice: User, mailoutbox: list[object]
) -> None:
    before = token_in_use(sandbox)

    assert "Require reconnect: done for 1." in act(staff, CONNECTION, "require_reconnect", connection.pk)
    work()

    assert not sandbox.accepts(before)
    assert not TokenPair.objects.exists()
    assert len(mailoutbox) == 1
    assert by_staff("connection.reconnect_required") == 1
    browser = visit(alice)
    browser.look(connection)
    work()
    assert badge(connection) == "Needs reconnect"
    assert "please connect again" in browser.get(f"/c/{connection.customer.code}/").text
    browser.come_back(sandbox.decide(browser.leave(connection.customer, connection=connection)))
    work()
    assert badge(connection) == "Connected"


def test_disconnect_ends_the_access_and_a_second_one_says_that_it_is_done(
    staff: Visitor, connection: Connection, sandbox: Sandbox
) -> None:
    before = token_in_use(sandbox)

    assert "Disconnect: done for 1." in act(staff, CONNECTION, "disconnect", connection.pk)
    assert badge(connection) == "Disconnected"
    assert not sandbox.accepts(before)
    assert by_staff("connection.disconnected") == 1

    assert "it is disconnected already" in act(staff, CONNECTION, "disconnect", connection.pk)
    assert by_staff("connection.disconnected") == 1


def test_more_rows_than_an_action_takes_are_refused_in_plain_words(staff: Visitor, acme: Customer) -> None:
    many = Connection.objects.bulk_create(Connection(customer=acme) for _ in range(21))

    page = act(staff, CONNECTION, "disconnect", *[connection.pk for connection in many])

    assert "Disconnect works for at most 20 at once. Nothing was done." in page
    assert not Connection.objects.filter(state=State.DISCONNECTED).exists()


def test_what_takes_too_long_is_left_for_the_next_time_and_said(
    staff: Visitor, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmed_actions, "TIME_LIMIT", -1.0)
    connection = Connection.objects.create(customer=acme)

    assert "not done yet, it took too long" in act(staff, CONNECTION, "disconnect", connection.pk)
    assert badge(connection) == "Connecting"


def test_a_delivery_is_assigned_ignored_and_read_again_once_each(
    staff: Visitor, connection: Connection, sandbox: Sandbox
) -> None:
    deliver(staff, sType="Create_Inspection", iInspectionID=int(upload(sandbox)), iCompanyID=424242)
    delivery = Delivery.objects.get(state=Delivery.State.UNMATCHED)

    assert "Ignore: done for 1." in act(staff, DELIVERY, "set_aside", delivery.pk)
    assert "is placed already, or ignored" in act(staff, DELIVERY, "set_aside", delivery.pk)
    assert "Replay: done for 1." in act(staff, DELIVERY, "read_again", delivery.pk)
    work()
    assert "No connection has this code" in act(staff, DELIVERY, "assign", delivery.pk, connection="nobody")
    assert "Null characters are not allowed" in act(staff, DELIVERY, "assign", delivery.pk, connection="no\0body")
    assert Delivery.objects.get(pk=delivery.pk).assigned_to is None
    assert "Assign: done for 1." in act(staff, DELIVERY, "assign", delivery.pk, connection=connection.code)
    work()
    assert Event.objects.get().connection == connection
    assert [by_staff(f"delivery.{what}") for what in ("ignored", "read_again", "assigned")] == [1, 1, 1]


def test_events_are_replayed_and_ignored_each_with_its_own_entry(
    staff: Visitor, connection: Connection, sandbox: Sandbox
) -> None:
    for _ in range(2):
        announce(staff, upload(sandbox))
    events = list(Event.objects.values_list("pk", flat=True))

    assert "Replay: done for 2." in act(staff, EVENT, "replay", *events)
    assert "Ignore: done for 2." in act(staff, EVENT, "ignore", *events)
    page = act(staff, EVENT, "ignore", *events)
    assert page.count("is finished already") == 2
    assert [by_staff("event.replayed"), by_staff("event.ignored")] == [2, 2]


def test_staff_who_may_only_look_are_offered_no_action_and_can_do_none(visit: Visit, connection: Connection) -> None:
    looker = User.objects.create_user("looker@example.com", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    browser = visit(looker)
    before = Connection.objects.values().get()

    pages = browser.get(f"/admin/{CONNECTION}/").text + browser.get(f"/admin/{CONNECTION}/{connection.pk}/change/").text
    assert connection.label in pages
    for action in ("replace_tokens", "disconnect", "check_now", "require_reconnect"):
        assert f'value="{action}"' not in pages
    act(browser, CONNECTION, "disconnect", connection.pk)
    assert Connection.objects.values().get() == before


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

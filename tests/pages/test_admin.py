"""What staff do in the Django admin: asked about first, done row by row, bounded, and in the audit trail."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission
from django.core.mail import EmailMessage

from accounts.admin import confirmed_actions
from accounts.models import AuditEntry, Customer, User
from integrations.models import Connection, Delivery, Event, State, TokenPair
from tests.pages.test_event import announce, deliver, upload
from tests.support.clients import Sandbox, Visitor, badge, work

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
    staff: Visitor, connection: Connection, sandbox: Sandbox, visit: Visit, alice: User, mailoutbox: list[EmailMessage]
) -> None:
    before = token_in_use(sandbox)

    assert "Require reconnect: done for 1." in act(staff, CONNECTION, "require_reconnect", connection.pk)
    work()

    assert not sandbox.accepts(before)
    assert not TokenPair.objects.exists()
    (told,) = mailoutbox
    assert "Our support team reset the connection to" in told.body
    assert "refused" not in told.body
    assert f"/c/{connection.customer.code}/connections/{connection.code}/" in told.body
    assert by_staff("connection.reconnect_required") == 1
    browser = visit(alice)
    browser.look(connection)
    work()
    assert badge(connection) == "Needs reconnect"
    assert "Reconnect to continue" in browser.get(f"/c/{connection.customer.code}/").text
    browser.open_callback(sandbox.decide(browser.start_connect(connection.customer, connection=connection)))
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
    assert "is waiting or placed already" in act(staff, DELIVERY, "read_again", delivery.pk)
    work()
    assert "Null characters are not allowed" in act(staff, DELIVERY, "assign", delivery.pk, connection="no\0body")
    for odd in ("nobody", "9" * 30, "0"):
        assert "This connection cannot be chosen now" in act(staff, DELIVERY, "assign", delivery.pk, connection=odd)
    assert Delivery.objects.get(pk=delivery.pk).assigned_to is None
    assert "Assign: done for 1." in act(staff, DELIVERY, "assign", delivery.pk, connection=str(connection.pk))
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

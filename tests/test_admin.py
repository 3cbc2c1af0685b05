"""What staff can do in the Django admin, and what nobody can."""

from collections.abc import Callable

import pytest

from accounts.models import AuditEntry, Customer, User
from integrations.models import Delivery, Event, TokenPair
from tests.driving import Sandbox, Visitor, work
from tests.test_event_pages import announce, deliver, upload

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
LISTS = [
    "accounts/user", "accounts/customer", "accounts/membership", "accounts/auditentry", "integrations/connection",
    "integrations/connectattempt", "integrations/check", "integrations/delivery", "integrations/event",
]  # fmt: skip


@pytest.fixture
def staff(visit: Visit) -> Visitor:
    return visit(User.objects.create_superuser("staff@example.com", "correct horse battery"))


def act(staff: Visitor, where: str, action: str, *chosen: int, **fields: str) -> str:
    return staff.post(
        f"/admin/{where}/", {"action": action, "_selected_action": [str(pk) for pk in chosen], **fields}, follow=True
    ).text


def test_every_list_and_row_opens_and_shows_no_token(
    sandbox: Sandbox, visit: Visit, staff: Visitor, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.post(f"/c/{acme.code}/connections/{connection.code}/test/")
    announce(browser, upload(sandbox))
    secrets = [token["token"] for token in sandbox.tokens()]
    rows = {
        "integrations/connection": connection.pk,
        "integrations/event": Event.objects.get().pk,
        "integrations/delivery": Delivery.objects.get().pk,
        "accounts/customer": acme.pk,
        "accounts/user": alice.pk,
        "accounts/auditentry": AuditEntry.objects.latest("pk").pk,
    }

    pages = [staff.get(f"/admin/{name}/") for name in LISTS]
    pages += [staff.get(f"/admin/{name}/{pk}/change/") for name, pk in rows.items()]

    assert {page.status_code for page in pages} == {200}
    text = "".join(page.text for page in pages)
    assert TokenPair.objects.get().fingerprint in text
    assert not [secret for secret in secrets if secret in text]


@pytest.mark.parametrize("name", LISTS)
def test_no_list_asks_more_questions_when_there_are_more_rows(
    name: str, staff: Visitor, acme: Customer, django_assert_max_num_queries: Callable[..., object]
) -> None:
    for number in range(5):
        User.objects.create_user(f"p{number}@example.com")
        Customer.objects.open(f"C{number}", owner=User.objects.latest("pk"))
        AuditEntry.objects.create(kind="connect.started", customer=acme)

    with django_assert_max_num_queries(14):  # type: ignore[attr-defined]
        staff.get(f"/admin/{name}/")


def test_staff_assign_an_unmatched_delivery(
    sandbox: Sandbox, visit: Visit, staff: Visitor, alice: User, acme: Customer
) -> None:
    connection = visit(alice).connect(acme, sandbox)
    deliver(staff, sType="Create_Inspection", iInspectionID=int(upload(sandbox)), iCompanyID=424242)
    delivery = Delivery.objects.get(state=Delivery.State.UNMATCHED)

    assert "No connection has this code" in act(
        staff, "integrations/delivery", "assign", delivery.pk, connection_code="nobody"
    )
    assert "1 deliveries were assigned" in act(
        staff, "integrations/delivery", "assign", delivery.pk, connection_code=connection.code
    )
    work()
    assert Event.objects.get().connection == connection
    assert AuditEntry.objects.filter(kind="delivery.assigned", actor__email="staff@example.com").count() == 1


def test_staff_ignore_and_read_again(staff: Visitor, sandbox: Sandbox) -> None:
    deliver(staff, sType="Create_Inspection", iInspectionID=1, iCompanyID=424242)
    delivery = Delivery.objects.get()

    assert "1 deliveries are being read again" in act(staff, "integrations/delivery", "read_again", delivery.pk)
    work()
    assert "1 deliveries are ignored" in act(staff, "integrations/delivery", "set_aside", delivery.pk)
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.IGNORED


def test_staff_replay_and_replace_tokens(
    sandbox: Sandbox, visit: Visit, staff: Visitor, alice: User, acme: Customer
) -> None:
    connection = visit(alice).connect(acme, sandbox)
    announce(staff, upload(sandbox))
    old = TokenPair.objects.get().fingerprint

    assert "1 events are being processed again" in act(staff, "integrations/event", "replay", Event.objects.get().pk)
    assert "The tokens were replaced" in act(staff, "integrations/connection", "replace_tokens", connection.pk)
    assert "1 connections are being checked" in act(staff, "integrations/connection", "check_now", connection.pk)
    work()
    assert TokenPair.objects.get().fingerprint != old
    assert AuditEntry.objects.filter(actor__email="staff@example.com", kind="tokens.replacing").exists()


def test_staff_who_may_only_look_are_offered_no_action(visit: Visit, acme: Customer, alice: User) -> None:
    from django.contrib.auth.models import Permission  # noqa: PLC0415

    looker = User.objects.create_user("looker@example.com", is_staff=True)
    looker.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))

    assert "Replace tokens" not in visit(looker).get("/admin/integrations/connection/").text

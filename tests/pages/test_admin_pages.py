"""Every page of the admin opens, shows no token, and asks no more questions when there are more rows."""

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection as database
from django.db.models import BinaryField, Model
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import audit
from accounts.models import AuditEntry, Customer, Invitation, Role, User
from integrations.events import webhook_addresses
from integrations.models import (
    Attempt,
    ConnectAttempt,
    Connection,
    ConnectionTest,
    Delivery,
    Event,
    EventDelivery,
    TokenPair,
    WebhookAddress,
    WebhookEndpoint,
)
from integrations.outgoing import delivery_actions, endpoints
from tests.pages.test_event import announce, upload
from tests.settings import SENTINEL
from tests.support.clients import Sandbox, Visitor

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)
OURS = [model for model in REGISTERED if model._meta.app_label in {"accounts", "integrations"}]


@pytest.fixture
def boss(db: None) -> User:
    return User.objects.create_superuser("staff@example.com", "correct horse battery")


@pytest.fixture
def staff(visit: Visit, boss: User) -> Visitor:
    return visit(boss)


def address(model: type[Model], rest: str = "") -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/{rest}"


def make_rows(number: int, start: int) -> None:
    """Create `number` rows of every model, with their related rows."""
    for n in range(start, start + number):
        user = User.objects.create_user(f"p{n}@example.com")
        customer = Customer.objects.create_with_owner(f"Customer {n}", owner=user)
        connection = Connection.objects.create(customer=customer, company_id=str(n), connected_by=user)
        TokenPair.objects.create(connection=connection, sealed_access=b"x", sealed_refresh=b"y", error_kind="timeout")
        ConnectAttempt.objects.create(
            state_hash=str(n), user=user, customer=customer, connection=connection, issued_at=timezone.now()
        )
        ConnectionTest.objects.create(connection=connection, by=user, duration=timedelta())
        delivery = Delivery.objects.create(body=b"{}", assigned_to=connection, company_id=str(n))
        event = Event.objects.create(connection=connection, received_at=timezone.now(), state=Event.State.FAILED)
        EventDelivery.objects.create(event=event, delivery=delivery)
        Attempt.objects.create(event=event, duration=timedelta(), error_kind="handler")
        AuditEntry.objects.create(customer=customer, actor=user, kind="connect.started", subject=connection.code)
        headers = {"X-Access": f"{SENTINEL}-header"}
        endpoint, _ = endpoints.create(
            url="https://hooks.example/", types=["*"], customer=customer, headers=headers, by=user
        )
        delivery_actions.send_test(endpoint, by=user).timeline.create(status=500, duration=timedelta(), answer="Oops")
        content_type = ContentType.objects.get_for_model(Customer)
        LogEntry.objects.create(user=user, content_type=content_type, object_id=str(customer.pk), action_flag=ADDITION)


def questions(staff: Visitor, path: str) -> int:
    with CaptureQueriesContext(database) as asked:
        answer = staff.get(path)
    assert answer.status_code == 200, path
    return len(asked)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_a_list_asks_no_more_questions_when_there_are_more_rows(model: type[Model], staff: Visitor) -> None:
    make_rows(2, start=0)
    staff.get(address(model))
    few = questions(staff, address(model))
    make_rows(15, start=100)

    assert questions(staff, address(model)) == few
    assert few <= 12
    assert staff.get(address(model), {"q": "nothing\0 like\0this"}).status_code == 200


def test_a_customers_page_asks_no_more_questions_when_it_has_more_rows(staff: Visitor, acme: Customer) -> None:
    def more(number: int) -> None:
        for n in range(number):
            company = f"{Connection.objects.count()}{n}"
            connection = Connection.objects.create(customer=acme, company_id=company, connected_by=acme.members.get())
            Event.objects.create(connection=connection, received_at=timezone.now(), state=Event.State.FAILED)
            AuditEntry.objects.create(customer=acme, actor=acme.members.get(), kind="connect.started")

    path = address(Customer, f"{acme.pk}/change/")
    more(2)
    staff.get(path)
    few = questions(staff, path)
    more(12)

    assert questions(staff, path) == few
    assert few <= 20


@pytest.fixture
def full_house(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, staff: Visitor) -> Connection:
    """A connection with everything that is kept for one, tokens and an address of its own included."""
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.post(f"/c/{acme.code}/connections/{connection.code}/test/")
    webhook_addresses.rotate(connection, by=alice)
    announce(browser, upload(sandbox))
    make_rows(1, start=0)
    return connection


def everything_sealed() -> list[str]:
    """Ciphertexts and secrets, in every spelling that a page could show them in."""
    kept = [bytes(value) for row in TokenPair.objects.values_list("sealed_access", "sealed_refresh") for value in row]
    kept += [bytes(value) for value in WebhookAddress.objects.values_list("sealed_secret", flat=True)]
    endpoints_sealed = WebhookEndpoint.objects.values_list("sealed_secret", "sealed_headers")
    kept += [bytes(value) for row in endpoints_sealed for value in row]
    kept = [value for value in kept if len(value) > 20]
    hashes = [
        *ConnectAttempt.objects.values_list("state_hash", flat=True),
        *WebhookAddress.objects.values_list("secret_hash", flat=True),
    ]
    texts = [value.decode("latin-1")[:40] for value in kept] + [value.hex()[:40] for value in kept]
    return [*texts, *(base64.b64encode(value).decode()[:40] for value in kept), *(h for h in hashes if len(h) > 20)]


def pages(staff: Visitor, boss: User) -> Iterator[tuple[str, Any]]:
    """Every page of every registered model: list, add, search, each row, its past, its end, each action's question."""
    request = RequestFactory().get("/admin/")
    request.user = boss
    yield "index", staff.get("/admin/")
    for model in REGISTERED:
        rest = ["", "add/", "?q=1"]
        rows = list(model._default_manager.order_by("pk")[:20])
        for row in rows:
            rest += [f"{row.pk}/{page}/" for page in ("change", "history", "delete")]
        for page in rest:
            yield address(model, page), staff.get(address(model, page), follow=True)
        for action in admin.site._registry[model].get_actions(request):
            chosen = [str(row.pk) for row in rows[:1]]
            data = {"action": action, "_selected_action": chosen}
            yield f"{address(model)} {action}", staff.post(address(model), data, follow=True)


@pytest.mark.once
def test_no_page_of_the_admin_shows_a_token_or_its_ciphertext(
    full_house: Connection, staff: Visitor, boss: User
) -> None:
    hidden = [SENTINEL, *everything_sealed()]
    assert len(hidden) > 10

    seen = 0
    for where, answer in pages(staff, boss):
        assert answer.status_code in {200, 403, 404, 405}, where
        text = answer.text
        assert [secret for secret in hidden if secret in text] == [], where
        seen += answer.status_code == 200
    assert seen > 60
    assert (
        TokenPair.objects.filter(connection=full_house).get().fingerprint
        in staff.get(address(Connection, f"{full_house.pk}/change/")).text
    )


def test_no_form_of_the_admin_has_a_field_for_a_token_or_anything_sealed(full_house: Connection, boss: User) -> None:
    request = RequestFactory().get("/admin/")
    request.user = boss
    for model in REGISTERED:
        model_admin = admin.site._registry[model]
        row = model._default_manager.first()
        forms = [model_admin.get_form(request, row, change=True)] if row is not None else []
        forms += [model_admin.get_form(request)] if model_admin.has_add_permission(request) else []
        forms += [inline.get_formset(request).form for inline in model_admin.get_inline_instances(request)]
        for form in forms:
            sealed = {field.name for field in form._meta.model._meta.get_fields() if isinstance(field, BinaryField)}
            fields = set(form.base_fields)
            assert not fields & {*sealed, "key_id", "state_hash", "session_hash", "secret_hash"}, model
            assert not [name for name in fields if "token" in name or "sealed" in name], model
    for model in (TokenPair, WebhookAddress):
        assert model not in admin.site._registry


@pytest.mark.parametrize("model", [ConnectAttempt, Connection, ConnectionTest, Delivery, Event, AuditEntry])
def test_what_comes_from_the_system_is_not_added_changed_or_deleted_by_hand(
    model: type[Model], full_house: Connection, staff: Visitor
) -> None:
    row = model._default_manager.order_by("pk")[0]
    before = list(model._default_manager.order_by("pk").values())

    assert staff.post(address(model, "add/"), {}).status_code == 403
    assert staff.post(address(model, f"{row.pk}/change/"), {"state": "done", "code": "x"}).status_code == 403
    assert staff.post(address(model, f"{row.pk}/delete/"), {"post": "yes"}).status_code == 403
    assert list(model._default_manager.order_by("pk").values()) == before


def test_the_index_speaks_plainly_and_leaves_no_list_out(staff: Visitor) -> None:
    page = staff.get("/admin/")

    for words in ("Connect administration", "Customers and people", "Connections", "Events", "Audit trail", "People"):
        assert words in page.text
    listed = {model["model"] for group in page.context["app_list"] for model in group["models"]}
    assert listed == set(REGISTERED)


def test_a_customers_page_answers_what_a_customer_asks(
    full_house: Connection, staff: Visitor, acme: Customer, alice: User
) -> None:
    page = staff.get(address(Customer, f"{acme.pk}/change/")).text

    for words in (full_house.label, "Connected", alice.email, "Inspection uploaded", "Done", "Tested the connection"):
        assert words in page
    for link in (
        f"/admin/integrations/connection/{full_house.pk}/change/",
        f"/admin/integrations/event/?connection__customer__id__exact={acme.pk}",
    ):
        assert link in page
        assert staff.get(link).status_code == 200


def test_a_customers_page_names_who_did_it_when_their_account_is_gone_too(
    staff: Visitor, acme: Customer, bob: User
) -> None:
    audit.record("connect.started", customer=acme, actor=bob)
    bob.delete()

    assert "bob@example.com" in staff.get(address(Customer, f"{acme.pk}/change/")).text
    assert "bob@example.com" in staff.get(address(AuditEntry)).text


def test_invitations_are_listed_with_what_became_of_them_and_never_their_links(
    staff: Visitor, acme: Customer, alice: User
) -> None:
    at = timezone.now()
    times = {
        "waits for an answer": {},
        "accepted": {"accepted_at": at},
        "withdrawn": {"withdrawn_at": at},
        "its time is up": {"expires_at": at - timedelta(days=1)},
    }
    for number, fields in enumerate(times.values()):
        kept = {"expires_at": at + timedelta(days=1), "token_hash": f"hash-of-{number}", "role": Role.MEMBER, **fields}
        Invitation.objects.create(customer=acme, email=f"dora{number}@example.com", invited_by=alice, **kept)

    page = staff.get(address(Invitation)).text
    page += staff.get(address(Invitation, f"{Invitation.objects.all()[0].pk}/change/")).text
    for words in times:
        assert words in page
    assert "hash-of-" not in page


def test_a_row_leads_to_what_belongs_to_it(full_house: Connection, staff: Visitor) -> None:
    rows: list[Model] = [
        full_house,
        Event.objects.get(connection=full_house),
        Delivery.objects.get(events__connection=full_house),
        AuditEntry.objects.filter(subject=full_house.code)[0],
    ]
    for row in rows:
        related = staff.get(address(type(row), f"{row.pk}/change/")).context["related"]
        assert related
        for words, link in related:
            answer = staff.get(link)
            assert answer.status_code == 200, words
            assert "error" not in answer.request["QUERY_STRING"], words


def test_long_tables_are_counted_no_further_than_anybody_pages(
    staff: Visitor, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accounts.admin.base import CappedPaginator  # noqa: PLC0415

    monkeypatch.setattr(CappedPaginator, "LIMIT", 3)
    for _ in range(5):
        AuditEntry.objects.create(kind="connect.started", customer=acme)

    with CaptureQueriesContext(database) as asked:
        page = staff.get(address(AuditEntry))
    assert page.context["cl"].result_count == 3
    assert all(
        "LIMIT 3" in query["sql"] for query in asked if "COUNT(" in query["sql"] and "auditentry" in query["sql"]
    )

"""`manage.py seed`: as many rows as asked for, complete, plausible, reproducible, and no way in for anybody."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import apps
from django.core import mail
from django.core.management import CommandError, call_command

from accounts.models import Customer, Membership, Role, User
from bench import seeding
from bench.seeding import rows
from integrations.background import jobs
from integrations.models import Connection, Delivery, Event, EventDelivery, State, TokenPair
from integrations.tokens import encryption
from integrations.tokens.encryption import KeyContext
from tests.support.clients import Sandbox, Visitor, work

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def seed(customers: int = 40, events: int = 300, **options: Any) -> None:
    call_command("seed", customers=customers, events=events, **options)


def counts() -> dict[str, int]:
    return {model._meta.label: model._default_manager.count() for model in apps.get_models()}


def plain(model: Any, *fields: str) -> list[tuple[Any, ...]]:
    return list(model.objects.order_by("code").values_list(*fields))


def test_a_dry_run_says_how_much_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = counts()

    seed(dry_run=True)

    assert counts() == before
    assert capsys.readouterr().out == "40 customers and 300 events would be added.\n"


def test_there_are_as_many_as_asked_for_however_often_it_runs() -> None:
    seed()
    assert (Customer.objects.count(), Event.objects.count()) == (40, 300)
    everything = counts()
    seed()
    assert counts() == everything

    seed(customers=45, events=310)
    assert (Customer.objects.count(), Event.objects.count()) == (45, 310)
    seed(customers=1, events=1)
    assert (Customer.objects.count(), Event.objects.count()) == (45, 310)


def test_what_is_real_is_neither_counted_nor_touched(acme: Customer) -> None:
    connection = Connection.objects.create(customer=acme, company_id="1")
    Event.objects.create(connection=connection, received_at=NOW)

    seed(customers=3, events=20)

    assert (Customer.objects.count(), Event.objects.count()) == (4, 21)
    assert Event.objects.filter(connection=connection).count() == 1


def test_stopped_in_the_middle_it_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "CUSTOMERS_PER_BATCH", 4)
    monkeypatch.setattr(seeding, "EVENTS_PER_BATCH", 30)
    asked = seeding.plan(customers=10, events=100)
    next(seeding.add_customers(asked.customers, seed=1, now=NOW))
    left = seeding.plan(customers=10, events=100)
    assert left.customers == range(4, 10)
    assert list(seeding.add_customers(left.customers, seed=1, now=NOW)) == [4, 2]
    next(seeding.add_events(asked.events, seed=1, now=NOW))

    seed(customers=10, events=100)

    assert (Customer.objects.count(), Event.objects.count()) == (10, 100)
    assert plain(Event, "code") == [(rows.code(number),) for number in range(100)]


def test_the_same_number_makes_the_same_rows_and_another_one_others() -> None:
    def made(number: int) -> list[list[tuple[Any, ...]]]:
        Customer.objects.all().delete()
        User.objects.all().delete()
        asked = seeding.plan(customers=20, events=100)
        list(seeding.add_customers(asked.customers, seed=number, now=NOW))
        list(seeding.add_events(asked.events, seed=number, now=NOW))
        return [
            plain(Customer, "code", "name", "created_at"),
            plain(Connection, "code", "state", "state_since", "company_id"),
            plain(Event, "code", "type", "state", "received_at", "connection__code", "attempts"),
        ]

    first = made(7)
    assert made(7) == first
    assert made(8) != first


@pytest.mark.once
@pytest.mark.slow
def test_every_customer_has_its_owner_and_its_pages_open() -> None:
    seed(customers=60, events=600)
    assert Membership.objects.filter(role=Role.OWNER).count() == 60

    states = set()
    for customer in Customer.objects.order_by("pk")[:25]:
        browser = Visitor()
        browser.force_login(customer.members.get(memberships__role=Role.OWNER))
        where = f"/c/{customer.code}/"
        for connection in customer.connections.all():
            states.add(connection.state)
            assert browser.get(f"{where}connections/{connection.code}/").status_code == 200
            assert browser.get(f"{where}connections/{connection.code}/activity/").status_code == 200
        for page in ("", "connections/", "events/", "audit/"):
            assert browser.get(where + page).status_code == 200, page
        event = Event.objects.filter(connection__customer=customer).last()
        if event is not None:
            assert event.code in browser.get(f"{where}events/").text
            assert browser.get(f"{where}events/{event.code}/").status_code == 200
    assert len(states) >= 3


def test_one_customer_is_big_and_states_are_in_believable_shares() -> None:
    seed(customers=200, events=2000)

    big = Event.objects.filter(connection__customer__code=rows.code(0)).count()
    assert 0.15 < big / 2000 < 0.4
    connections = Counter(Connection.objects.values_list("state", flat=True))
    assert set(connections) == set(State.values)
    assert connections[State.CONNECTED] > 0.75 * connections.total()
    events = Counter(Event.objects.values_list("state", flat=True))
    assert events[Event.State.DONE] > 0.9 * events.total()
    assert {Event.State.FAILED, Event.State.IGNORED, Event.State.RECEIVED} <= set(events)
    told = EventDelivery.objects.values("event").distinct().count()
    assert told == 2000 < Delivery.objects.count()
    assert all(event.timeline.count() == event.attempts for event in Event.objects.all()[:200])
    newest, oldest = Event.objects.latest("received_at"), Event.objects.earliest("received_at")
    assert 58 <= (newest.received_at - oldest.received_at).days <= 60


def test_nobody_can_sign_in_and_no_token_was_ever_issued() -> None:
    seed()

    assert not [user for user in User.objects.all() if user.has_usable_password()]
    pairs = TokenPair.objects.select_related("connection")
    assert pairs
    for pair in pairs:
        place = KeyContext(pair.connection.customer_id, pair.connection_id, "access")
        assert encryption.unseal(pair.sealed_access, place) == f"seeded-{pair.connection.code}"
        assert b"seeded" not in bytes(pair.sealed_access)


def test_a_worker_neither_asks_snapinspect_nor_mails_anybody_about_them(sandbox: Sandbox) -> None:
    seed(customers=200, events=2000)

    jobs.sweep()
    work()

    assert sandbox.calls() == []
    assert mail.outbox == []
    assert Event.objects.count() == 2000


def test_senseless_numbers_are_refused() -> None:
    with pytest.raises(CommandError, match="must not be negative"):
        seed(events=-1)
    with pytest.raises(CommandError, match="belong to connections"):
        seed(customers=0, events=1)

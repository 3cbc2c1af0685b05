"""Messages are written in the transaction in which something happened, for the endpoints that have asked for them."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.events import event_actions, handlers, outbox
from integrations.models import Connection, Event, OutgoingDelivery, OutgoingMessage, State, WebhookEndpoint
from integrations.outgoing import endpoints
from tests.outgoing.conftest import Made
from tests.support.clients import Sandbox, Visitor
from tests.support.deliveries import INSPECTION, deliver, payload

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


URL = "https://hooks.example/"


@pytest.fixture
def endpoint(make: Made) -> WebhookEndpoint:
    return make()[0]


@pytest.fixture
def connection(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    return visit(alice).connect(acme, sandbox)


def told() -> list[dict[str, Any]]:
    return [json.loads(body) for body in OutgoingMessage.objects.order_by("pk").values_list("body", flat=True)]


def test_a_verified_event_is_told_with_what_snapinspect_answered(
    connection: Connection, acme: Customer, endpoint: WebhookEndpoint
) -> None:
    acme.external_id = "crm-7"
    acme.save()

    deliver(payload())

    (message,) = told()
    event = Event.objects.get()
    data = message.pop("data")
    assert message["type"] == "inspection.created"
    assert abs(datetime.fromisoformat(message["timestamp"]) - timezone.now()) < timedelta(minutes=1)
    assert data.pop("content")["iInspectionID"] == int(INSPECTION)
    assert data == {
        "event": event.code,
        "customer": {"code": acme.code, "external_id": "crm-7"},
        "connection": connection.code,
        "company_id": "6847",
        "inspection_id": INSPECTION,
        "review_id": None,
        "raw_type": "Create_Inspection",
        "verified": True,
        "received_at": event.received_at.isoformat(),
        "api_path": f"/api/v1/events/{event.code}",
    }
    delivery = OutgoingDelivery.objects.get()
    assert (delivery.endpoint, delivery.state, delivery.tries) == (endpoint, "waiting", 0)
    assert WebhookEndpoint.objects.due().exists()


def test_an_event_that_cannot_be_looked_up_is_told_as_unverified(
    connection: Connection, endpoint: WebhookEndpoint, settings: Settings
) -> None:
    settings.SNAPINSPECT_INSPECTION_PATH = ""

    deliver(payload("Made_Up"))

    (message,) = told()
    assert (message["type"], message["data"]["raw_type"]) == ("event.other", "Made_Up")
    assert (message["data"]["verified"], message["data"]["content"]) == (False, None)


def test_long_content_is_left_to_the_api(connection: Connection, endpoint: WebhookEndpoint) -> None:
    deliver(payload())
    OutgoingMessage.objects.all().delete()
    Event.objects.update(content=json.dumps({"long": "x" * outbox.MOST_CONTENT}))

    with transaction.atomic():
        outbox.write(connection, [Event.objects.get().pk])

    assert told()[0]["data"]["content"] is None


def test_what_snapinspect_has_not_confirmed_is_not_told(connection: Connection, endpoint: WebhookEndpoint) -> None:
    deliver(payload(inspection="99999999"))

    assert Event.objects.get().state == Event.State.RETRYING
    Event.objects.update(state=Event.State.FAILED, last_error_kind="not_found")
    with transaction.atomic():
        outbox.write(connection, [Event.objects.get().pk])
    assert told() == []


def test_the_operators_own_failing_handler_takes_nothing_from_others(
    connection: Connection, endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Event, "MOST_ATTEMPTS", 1)

    def broken(happening: handlers.Happening) -> None:
        raise RuntimeError

    monkeypatch.setattr(handlers, "registry", {})
    handlers.on("Create_Inspection")(broken)

    deliver(payload())

    assert Event.objects.get().state == Event.State.FAILED
    (message,) = told()
    assert message["data"]["verified"]


def test_a_replayed_event_is_told_again(connection: Connection, endpoint: WebhookEndpoint, alice: User) -> None:
    deliver(payload())
    event_actions.replay(Event.objects.get(), by=alice)

    deliver()

    assert [message["data"]["event"] for message in told()] == [Event.objects.get().code] * 2
    assert OutgoingMessage.objects.values("code").distinct().count() == 2


def test_each_endpoint_gets_what_it_has_asked_for_and_nothing_of_others(
    connection: Connection, acme: Customer, charlie: User
) -> None:
    made = {
        name: endpoints.create(url=URL, types=types, customer=customer, by=None)[0]
        for name, types, customer in [
            ("created", ["inspection.created"], acme),
            ("signed", ["review.signed"], acme),
            ("operator's", ["*"], None),
            ("Charlie's", ["*"], charlie.customers.get()),
        ]
    }
    deliver(payload())

    assert set(OutgoingDelivery.objects.values_list("endpoint", flat=True)) == {
        made["created"].pk, made["operator's"].pk
    }  # fmt: skip
    assert OutgoingMessage.objects.count() == 1


def test_for_one_that_is_off_it_is_kept_and_not_sent(connection: Connection, endpoint: WebhookEndpoint) -> None:
    WebhookEndpoint.objects.update(state="off", off_reason="gone")

    deliver(payload())

    assert OutgoingDelivery.objects.get().state == "held"


def test_without_an_endpoint_nothing_is_written(connection: Connection) -> None:
    deliver(payload())
    connection.move_to(State.NEEDS_RECONNECT)

    assert not OutgoingMessage.objects.exists()


def test_what_is_rolled_back_is_not_told(connection: Connection, endpoint: WebhookEndpoint) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        connection.move_to(State.NEEDS_RECONNECT)
        raise RuntimeError
    assert told() == []


@pytest.fixture
def fresh(acme: Customer, endpoint: WebhookEndpoint) -> Iterator[Connection]:
    yield Connection.objects.create(customer=acme, company_id="6847")


def test_the_health_of_a_connection_is_told_once_for_each_change(fresh: Connection) -> None:
    for state in (
        State.CONNECTED, State.CONNECTED, State.TROUBLE, State.CONNECTED,
        State.NEEDS_RECONNECT, State.NEEDS_RECONNECT, State.TROUBLE, State.NEEDS_RECONNECT, State.CONNECTED,
        State.DISCONNECTED, State.DISCONNECTED, State.CONNECTED,
    ):  # fmt: skip
        changes: dict[str, Any] = {"connected_at": timezone.now()} if state == State.CONNECTED else {}
        fresh.move_to(state, **changes)

    assert [message["type"] for message in told()] == [
        "connection.connected",
        "connection.needs_reconnect",
        "connection.working_again",
        "connection.disconnected",
        "connection.connected",
    ]
    assert told()[0]["data"]["connection"] == fresh.code
    assert set(told()[0]["data"]) == {"customer", "connection", "company_id", "name", "since"}


def test_a_connect_that_failed_first_is_told_as_connected(fresh: Connection) -> None:
    fresh.move_to(State.NEEDS_RECONNECT)
    fresh.move_to(State.CONNECTED, connected_at=timezone.now())

    assert [message["type"] for message in told()] == ["connection.needs_reconnect", "connection.connected"]


def test_what_the_row_says_counts_and_not_what_this_process_has_read(fresh: Connection) -> None:
    other = Connection.objects.get(pk=fresh.pk)
    fresh.move_to(State.NEEDS_RECONNECT)
    other.move_to(State.NEEDS_RECONNECT)

    assert [message["type"] for message in told()] == ["connection.needs_reconnect"]


def test_one_that_was_disconnected_meanwhile_is_told_to_be_nothing_else(fresh: Connection) -> None:
    late = Connection.objects.get(pk=fresh.pk)
    fresh.move_to(State.DISCONNECTED)
    late.move_to(State.NEEDS_RECONNECT)

    assert [message["type"] for message in told()] == ["connection.disconnected"]

"""Events through the API: followed in order, read, replayed."""

import threading
from typing import Any, get_args

import pytest
from django.db import connection as database
from django.db import transaction

from accounts.models import AuditEntry, Customer, User
from integrations.api.events import TypeName
from integrations.events import routing
from integrations.events.public_types import OTHER, RAW_TYPES, public_type
from integrations.models import Connection, Event, NamedLock, State
from integrations.outgoing.message_types import TYPES
from integrations.wording import EVENT_TYPES
from tests.api.conftest import ApiClient, Keys
from tests.support.clients import Sandbox, quick_connect, work
from tests.support.deliveries import INSPECTION, deliver, payload, post
from tests.support.many_events import make_events

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def connection(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    return quick_connect(acme, sandbox, by=alice)


def codes(client: ApiClient, **query: Any) -> list[str]:
    return [row["code"] for row in client.json("get", "events", **query)["items"]]


def test_an_event_is_listed_read_with_its_content_and_replayed(api: Keys, connection: Connection) -> None:
    client = api()
    deliver(payload(inspection=INSPECTION))
    event = Event.objects.get()
    (listed,) = client.json("get", "events")["items"]
    assert listed == {
        "code": event.code,
        "connection": connection.code,
        "type": "inspection.created",
        "raw_type": "Create_Inspection",
        "state": "done",
        "verified": True,
        "inspection_id": INSPECTION,
        "review_id": None,
        "company_id": "6847",
        "received_at": listed["received_at"],
        "content": None,
    }
    assert listed["received_at"].endswith("Z")
    one = client.json("get", f"events/{event.code}")
    assert str(one["content"]["iInspectionID"]) == INSPECTION
    assert {**one, "content": None} == listed

    replayed = client.json("post", f"events/{event.code}/replay")
    assert (replayed["code"], replayed["state"]) == (event.code, "received")
    again = client.json("post", f"events/{event.code}/replay", status=409)
    assert again["type"] == "urn:connect:problem:conflict"
    work()
    assert client.json("get", f"events/{event.code}")["state"] == "done"
    assert AuditEntry.objects.get(kind="event.replayed").who.startswith("API key ")
    Connection.objects.update(state=State.DISCONNECTED)
    client.json("post", f"events/{event.code}/replay", status=409)


def test_events_are_filtered(api: Keys, connection: Connection, foreign: Connection) -> None:
    client = api()
    mine = make_events(connection, 3)
    (theirs,) = make_events(foreign, 1, type="Something_New", state=Event.State.FAILED)
    assert codes(client) == [event.code for event in (*mine, theirs)]
    assert codes(client, connection=connection.code) == codes(client, customer=connection.customer.code)
    assert codes(client, customer=foreign.customer.code) == [theirs.code]
    assert codes(client, type="event.other") == codes(client, state="failed") == [theirs.code]
    assert codes(client, type="inspection.created", state="done") == [event.code for event in mine]
    assert codes(client, inspection_id="1001") == [mine[1].code]
    assert codes(client, type="review.signed") == codes(client, connection="nosuchcode22") == []
    for wrong in ({"type": "Create_Inspection"}, {"state": "Done"}, {"connection": "../x"}, {"inspection_id": "\0"}):
        client.json("get", "events", status=422, **wrong)


def test_the_end_of_the_list_has_a_cursor_of_what_comes_later(api: Keys, connection: Connection) -> None:
    client = api()
    assert client.json("get", "events") == {"items": [], "next": None, "cursor": None}
    first = make_events(connection, 5)
    page = client.json("get", "events", limit=3)
    assert page["next"] == page["cursor"]
    page = client.json("get", "events", limit=3, after=page["next"])
    assert ([row["code"] for row in page["items"]], page["next"]) == ([event.code for event in first[3:]], None)
    first[-1].delete()  # it repeated another one
    end = client.json("get", "events", after=page["cursor"])
    assert end == {"items": [], "next": None, "cursor": page["cursor"]}
    (later,) = make_events(connection, 1)
    assert codes(client, after=end["cursor"]) == [later.code]


def test_a_cursor_passes_no_event_that_is_committed_later(api: Keys, connection: Connection) -> None:
    client = api()
    assert post(payload(inspection=INSPECTION)).status_code == 200
    is_made, may_commit = threading.Event(), threading.Event()
    early: list[str] = []

    def make_slowly() -> None:
        try:
            with transaction.atomic():
                NamedLock.objects.lock(routing.LOCK)
                early.extend(event.code for event in make_events(connection, 1))
                is_made.set()
                may_commit.wait(30)
        finally:
            database.close()

    def route() -> None:
        try:
            routing.route_batch()
        finally:
            database.close()

    threads = [threading.Thread(target=make_slowly), threading.Thread(target=route)]
    threads[0].start()
    assert is_made.wait(30)
    threads[1].start()
    threads[1].join(0.3)
    if database.vendor == "postgresql":  # with SQLite, the request that counts the key's calls would wait, too
        assert codes(client) == []
    may_commit.set()
    for thread in threads:
        thread.join(30)
    seen = codes(client)
    assert len(seen) == 2 and seen[0] == early[0]


def test_what_may_be_a_repetition_is_listed_so_that_no_cursor_passes_it(api: Keys, connection: Connection) -> None:
    first, second = make_events(connection, 2)
    Event.objects.filter(pk=second.pk).update(repeat_of=first, state=Event.State.RECEIVED)
    assert codes(api()) == [first.code, second.code]


def test_events_of_others_do_not_exist_for_a_key_of_one_customer(
    api: Keys, acme: Customer, foreign: Connection
) -> None:
    client = api(customer=acme)
    (theirs,) = make_events(foreign, 1)
    assert codes(client) == codes(client, customer=foreign.customer.code) == []
    assert codes(client, connection=foreign.code) == []
    client.json("get", "events", after=theirs.code, status=422)
    client.json("get", f"events/{theirs.code}", status=404)
    client.json("post", f"events/{theirs.code}/replay", status=404)
    assert Event.objects.get().state == Event.State.DONE


def test_every_documented_type_has_a_name() -> None:
    assert set(RAW_TYPES.values()) == set(EVENT_TYPES)
    assert set(get_args(TypeName)) == {*RAW_TYPES, OTHER}
    assert {name for name in TYPES if not name.startswith("connection.")} == {*RAW_TYPES, OTHER}
    assert public_type("Review_Signed") == "review.signed"
    assert public_type("") == public_type("Inspection_Changed") == "event.other"

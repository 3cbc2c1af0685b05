"""Row P3: connections through the API."""

from typing import Any

import pytest

from accounts.models import AuditEntry, Customer, User
from integrations.models import Connection, State
from tests.api.conftest import Keys
from tests.support.clients import Sandbox, quick_connect
from tests.support.deliveries import deliver, payload

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def connection(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    return quick_connect(acme, sandbox, by=alice)


def test_a_connection_is_described_listed_and_filtered(
    api: Keys, connection: Connection, foreign: Connection, acme: Customer
) -> None:
    client = api()
    deliver(payload())
    one = client.json("get", f"connections/{connection.code}")
    assert one == {
        "code": connection.code,
        "customer": {"code": acme.code, "external_id": None},
        "state": "connected",
        "company_id": "6847",
        "name": connection.label,
        "last_checked_at": one["last_checked_at"],
        "last_event_at": one["last_event_at"],
        "metadata": {},
    }
    assert one["last_checked_at"] and one["last_event_at"]

    def codes(**query: Any) -> list[str]:
        return [row["code"] for row in client.json("get", "connections", **query)["items"]]

    assert codes() == [connection.code, foreign.code]
    assert codes(customer=acme.code) == [connection.code]
    assert codes(external_id="globex-1") == [foreign.code]
    assert codes(state="connected") == [connection.code]
    Connection.objects.filter(pk=foreign.pk).update(state=State.TROUBLE)
    assert codes(state="having_trouble") == [foreign.code]
    assert client.json("get", f"connections/{foreign.code}")["state"] == "having_trouble"
    client.json("get", "connections", state="trouble", status=422)


def test_metadata_is_replaced_within_its_bounds(api: Keys, connection: Connection) -> None:
    client, path = api(), f"connections/{connection.code}"
    wrong: Any
    notes = {f"name{number}": "x" * 100 for number in range(20)}
    assert client.json("patch", path, {"metadata": notes})["metadata"] == notes
    for wrong in (
        *({**notes, "one more": "x"}, {"a": 1}, {"a": None}, {"": "x"}),
        *({"a" * 41: "x"}, {"a": "x" * 101}, {"a": "\0"}, []),
    ):
        client.json("patch", path, {"metadata": wrong}, status=422)
    assert client.json("get", path)["metadata"] == notes
    assert client.json("patch", path, {"metadata": {}})["metadata"] == {}
    assert AuditEntry.objects.filter(kind="connection.metadata_changed", subject=connection.code).count() == 2


def test_a_test_calls_snapinspect_and_says_what_it_answered(
    api: Keys, connection: Connection, sandbox: Sandbox
) -> None:
    client, path = api(), f"connections/{connection.code}/test"
    before = len(sandbox.calls("/user"))
    found = client.json("post", path)
    assert (found["ok"], found["error"], found["company_id"]) == (True, None, "6847")
    assert len(sandbox.calls("/user")) > before
    assert AuditEntry.objects.get(kind="connection.tested").who.startswith("API key ")

    sandbox.fault("/user", "status", times=None)
    found = client.json("post", path)
    assert (found["ok"], found["error"]) == (False, "server_error")
    Connection.objects.update(tests=6)
    limited = client.call("post", path)
    assert (limited.status_code, limited["Retry-After"]) == (429, "60")


def test_disconnect_erases_the_tokens(api: Keys, connection: Connection) -> None:
    answer = api().json("post", f"connections/{connection.code}/disconnect")
    assert answer["connection"]["state"] == "disconnected"
    assert answer["ended_at_snapinspect"] is True
    assert not connection.pairs.exists()
    assert AuditEntry.objects.get(kind="connection.disconnected").who.startswith("API key ")


def test_connections_of_others_do_not_exist_for_a_key_of_one_customer(
    api: Keys, acme: Customer, foreign: Connection
) -> None:
    client = api(customer=acme)
    assert client.json("get", "connections")["items"] == []
    assert client.json("get", "connections", customer=foreign.customer.code)["items"] == []
    assert client.json("get", "connections", external_id="globex-1")["items"] == []
    client.json("get", "connections", after=foreign.code, status=422)
    for method, path, body in (
        ("get", "", None), ("patch", "", {"metadata": {}}), ("post", "/test", None), ("post", "/disconnect", None)
    ):  # fmt: skip
        client.json(method, f"connections/{foreign.code}{path}", body, status=404)
    assert Connection.objects.get(pk=foreign.pk).state == State.CONNECTING


@pytest.mark.parametrize(
    ("path", "name"), [("connections", "external_id"), ("customers", "external_id"), ("events", "inspection_id")]
)
def test_an_empty_filter_is_refused_and_does_not_list_everything(path: str, name: str, api: Keys) -> None:
    api().json("get", path, status=422, **{name: ""})
    assert api("events:read").call("get", "customers")["Connect-Error"] == "missing-scope"

"""Webhook endpoints and their deliveries through the API."""

from datetime import timedelta
from typing import Any

import pytest

from accounts.models import AuditEntry, Customer
from integrations.models import OutgoingDelivery, OutgoingMessage, Scope, WebhookEndpoint
from integrations.outgoing import endpoints
from integrations.outgoing.message_types import TYPES
from tests.api.conftest import ApiClient, Keys
from tests.settings import SENTINEL

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = {"url": "https://hooks.example/connect", "types": ["review.signed", "connection.disconnected"]}


def made(client: ApiClient, **members: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.json("post", "webhook-endpoints", ASKED | members, status=201)
    return answer


def test_an_endpoint_is_made_listed_changed_and_deleted(api: Keys, acme: Customer) -> None:
    client = api()
    value = f"{SENTINEL}-header"
    new = made(client, customer=acme.code, headers={"X-Access": value}, description="Back office")
    secret = new.pop("secret")
    row = WebhookEndpoint.objects.get()
    assert endpoints.signing_secrets(row) == [secret]
    assert new == {
        "code": row.code,
        "url": ASKED["url"],
        "types": sorted(ASKED["types"]),
        "customer": acme.code,
        "headers": ["X-Access"],
        "description": "Back office",
        "state": "on",
        "off_reason": None,
        "failing_since": None,
        "last_delivered_at": None,
        "created_at": new["created_at"],
    }
    path = f"webhook-endpoints/{row.code}"
    assert client.json("get", path) == new
    assert client.json("get", "webhook-endpoints", customer=acme.code) == {"items": [new], "next": None}
    assert value not in client.call("get", path).text

    changed = client.json("patch", path, {"types": ["*"], "headers": {}, "state": "paused"})
    assert changed == {**new, "types": ["*"], "headers": [], "state": "paused"}
    assert client.json("patch", path, {"state": "on"})["state"] == "on"
    replaced = client.json("post", f"{path}/secret")["secret"]
    row.refresh_from_db()
    assert endpoints.signing_secrets(row) == [replaced, secret]

    assert client.call("delete", path).status_code == 204
    client.json("get", path, status=404)
    kinds = set(AuditEntry.objects.filter(kind__startswith="webhook_endpoint").values_list("kind", flat=True))
    names = {"made", "changed", "paused", "switched_on", "secret_replaced", "deleted"}
    assert kinds == {f"webhook_endpoint.{name}" for name in names}


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"url": "http://hooks.example/"}, "body.url"),
        ({"url": "https://hooks.example:22/"}, "body.url"),
        ({"types": []}, "body.types"),
        ({"types": ["endpoint.test"]}, "body.types"),
        ({"headers": {"Host": "internal"}}, "body.headers"),
        ({"headers": {"X-A": "a\nb"}}, "body.headers"),
        ({"colour": "red"}, "body.colour"),
    ],
)
def test_a_value_that_cannot_be_is_named_by_its_field(api: Keys, members: dict[str, Any], field: str) -> None:
    client = api()
    problem = client.json("post", "webhook-endpoints", ASKED | members, status=422)
    assert [error["field"] for error in problem["errors"]] == [field]
    if field != "body.colour":
        code = made(client)["code"]
        problem = client.json("patch", f"webhook-endpoints/{code}", members, status=422)
        assert [error["field"] for error in problem["errors"]] == [field]


def test_a_test_is_sent_listed_read_and_resent(api: Keys) -> None:
    client = api()
    path = f"webhook-endpoints/{made(client)['code']}"
    sent = client.json("post", f"{path}/test", status=201)
    assert (sent["type"], sent["state"], sent["tries"]) == ("endpoint.test", "waiting", 0)
    assert client.json("get", f"{path}/deliveries", state="waiting")["items"] == [sent]
    assert client.json("get", f"{path}/deliveries", state="failed")["items"] == []
    resend = f"deliveries/{sent['id']}/resend"
    assert client.json("post", resend, status=409)["type"] == "urn:connect:problem:conflict"

    row = OutgoingDelivery.objects.get()
    row.timeline.create(error_kind="timeout", duration=timedelta(seconds=15))
    row.timeline.create(status=500, duration=timedelta(seconds=0.25), answer="Oops")
    OutgoingDelivery.objects.update(state="failed", tries=2)
    whole = client.json("get", f"deliveries/{sent['id']}")
    assert whole["body"]["type"] == "endpoint.test" and whole["next_try_at"] is None
    assert [(one["status"], one["error"], one["seconds"]) for one in whole["timeline"]] == [
        (None, "timeout", 15.0),
        (500, None, 0.25),
    ]
    again = client.json("post", resend)
    assert (again["webhook_id"], again["state"], again["tries"]) == (sent["webhook_id"], "waiting", 0)


def test_a_key_of_one_customer_reaches_its_own_endpoints_and_no_others(
    api: Keys, acme: Customer, globex: Customer
) -> None:
    everything, own = api(), api(customer=acme)
    theirs = [made(everything, customer=globex.code)["code"], made(everything)["code"]]
    sent = [everything.json("post", f"webhook-endpoints/{code}/test", status=201)["id"] for code in theirs]
    for code in theirs:
        path = f"webhook-endpoints/{code}"
        for method, address in [
            ("get", path),
            ("patch", path),
            ("delete", path),
            ("post", f"{path}/test"),
            ("post", f"{path}/secret"),
            ("get", f"{path}/deliveries"),
        ]:
            own.json(method, address, {} if method == "patch" else None, status=404)
    for delivery in sent:
        own.json("get", f"deliveries/{delivery}", status=404)
        own.json("post", f"deliveries/{delivery}/resend", status=404)
    assert own.json("get", "webhook-endpoints")["items"] == []
    own.json("post", "webhook-endpoints", {**ASKED, "customer": globex.code}, status=404)
    # Without a customer it is the key's own.
    mine = made(own)
    assert mine["customer"] == acme.code
    assert len(everything.json("get", "webhook-endpoints")["items"]) == 3
    assert WebhookEndpoint.objects.count() == 3 and OutgoingMessage.objects.count() == 2


def test_reading_needs_one_scope_and_writing_another(api: Keys) -> None:
    reader, writer = api(Scope.EVENTS_READ), api(Scope.EVENTS_WRITE)
    code = made(writer)["code"]
    assert reader.json("post", "webhook-endpoints", ASKED, status=403)["scope"] == "events:write"
    assert writer.json("get", f"webhook-endpoints/{code}", status=403)["scope"] == "events:read"
    assert reader.json("get", f"webhook-endpoints/{code}")["code"] == code


def test_the_description_names_every_type(api: Keys) -> None:
    schema = api().json("get", "openapi.json")["components"]["schemas"]["NewEndpoint"]
    assert all(name in schema["properties"]["types"]["description"] for name in TYPES)

"""Row P2: customers through the API."""

from typing import Any

import pytest

from accounts.models import AuditEntry, Customer
from integrations.models import Scope
from integrations.snapinspect.json_depth import MOST_NESTED
from tests.api.conftest import Keys
from tests.support.finalizers import lost_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_customer_is_made_found_by_the_operators_id_and_changed(api: Keys) -> None:
    client = api(Scope.CUSTOMERS)
    made = client.json("post", "customers", {"name": "  Initech \n Homes ", "external_id": "42"}, status=201)
    assert set(made) == {"code", "external_id", "name", "created_at"}
    assert (made["name"], made["external_id"]) == ("Initech Homes", "42")
    assert made["created_at"].endswith("Z")

    assert client.json("get", "customers", external_id="42") == {"items": [made], "next": None}
    assert client.json("get", f"customers/{made['code']}") == made
    assert client.json("get", "customers", external_id="43")["items"] == []
    changed = client.json("patch", f"customers/{made['code']}", {"name": "Initech"})
    assert changed == {**made, "name": "Initech"}
    assert client.json("patch", f"customers/{made['code']}", {"external_id": None})["external_id"] is None
    entries = AuditEntry.objects.filter(customer__code=made["code"]).order_by("pk")
    assert [entry.kind for entry in entries] == ["customer.made", "customer.changed", "customer.changed"]
    assert all(entry.who.startswith("API key ") for entry in entries)


def test_an_external_id_belongs_to_one_customer_and_none_to_many(api: Keys, globex: Customer) -> None:
    client = api()
    refused = client.json("post", "customers", {"name": "B", "external_id": "globex-1"}, status=409)
    assert refused["type"] == "urn:connect:problem:conflict"
    one, two = (client.json("post", "customers", {"name": "C"}, status=201) for _ in range(2))
    assert one["external_id"] is two["external_id"] is None
    client.json("patch", f"customers/{one['code']}", {"external_id": "globex-1"}, status=409)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.name"),
        ({"name": ""}, "body.name"),
        ({"name": "\u3164"}, "body.name"),
        ({"name": "x" * 101}, "body.name"),
        ({"name": 5}, "body.name"),
        ({"name": "a\0b"}, "body.name"),
        ({"name": "a", "external_id": ""}, "body.external_id"),
        ({"name": "a", "external_id": "\0"}, "body.external_id"),
        ({"name": "a", "extra": 1}, "body.extra"),
        ([], "body"),
    ],
)
def test_what_is_wrong_is_named_by_the_path_of_its_field(api: Keys, body: Any, field: str) -> None:
    answer = api().json("post", "customers", body, status=422)
    assert answer["type"] == "urn:connect:problem:invalid"
    assert any(error["field"].startswith(field) for error in answer["errors"]), answer
    assert not Customer.objects.exists()


@pytest.mark.parametrize(
    ("status", "kind", "sent"),
    [
        (400, "bad-request", {"data": b"{", "content_type": "application/json"}),
        (400, "bad-request", {"data": b"\xff\xfe", "content_type": "application/json"}),
        (400, "bad-request", {"data": b"[" * 60_000, "content_type": "application/json"}),
        (415, "not-json", {"data": b"name=x", "content_type": "application/x-www-form-urlencoded"}),
        (413, "too-large", {"data": b" " * 70_000, "content_type": "application/json"}),
        (
            411,
            "length-required",
            {"data": b"{}", "content_type": "application/json", "headers": {"Transfer-Encoding": "chunked"}},
        ),
    ],
)
def test_bodies_that_are_no_json_are_refused_with_a_problem(
    api: Keys, status: int, kind: str, sent: dict[str, Any]
) -> None:
    answer = api().post("/api/v1/customers", **sent)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:connect:problem:{kind}")


def test_pages_follow_each_other_and_a_deleted_row_does_not_matter(api: Keys) -> None:
    client = api()
    codes = [Customer.objects.create(name=f"N{number}").code for number in range(7)]
    seen, after = [], ""
    while after is not None:
        page = client.json("get", "customers", limit=3, after=after)
        seen += [row["code"] for row in page["items"]]
        after = page["next"]
        Customer.objects.filter(code=seen[-1]).delete()
    assert seen == codes
    assert [row["code"] for row in client.json("get", "customers", after=codes[0])["items"]] == [
        *codes[1:2],
        *codes[3:5],
    ]
    for wrong in ("1", "7.x", "nosuchcode22", "\0"):
        client.json("get", "customers", after=wrong, status=422)
    for wrong_limit in ("0", "101", "x", "-1"):
        client.json("get", "customers", limit=wrong_limit, status=422)


def test_a_key_of_one_customer_sees_and_makes_no_other(api: Keys, acme: Customer, globex: Customer) -> None:
    client = api(customer=acme)
    assert [row["code"] for row in client.json("get", "customers")["items"]] == [acme.code]
    assert client.json("get", "customers", external_id="globex-1")["items"] == []
    foreign = client.json("get", f"customers/{globex.code}", status=404)
    made_up = client.json("get", "customers/nosuchcode22", status=404)
    assert {**foreign, "request_id": ""} == {**made_up, "request_id": ""}
    client.json("patch", f"customers/{globex.code}", {"name": "Mine"}, status=404)
    client.json("post", "customers", {"name": "Mine"}, status=403)
    assert Customer.objects.get(pk=globex.pk).name == "Globex Lettings"


def test_methods_and_addresses_that_are_not_there(api: Keys) -> None:
    answer = api().call("delete", "customers")
    assert (answer.status_code, answer.json()["type"]) == (405, "urn:connect:problem:method-not-allowed")
    assert set(answer["Allow"].replace(" ", "").split(",")) == {"GET", "POST"}
    for path in ("nothing", "customers/", "", "customers/x/y"):
        assert api().call("get", path).json()["type"] == "urn:connect:problem:not-found"


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"name":' * 8_000, ("[" * 30_000).encode("utf-16")])
def test_a_deep_body_is_refused_before_it_is_parsed(api: Keys, body: bytes) -> None:
    client = api(Scope.CUSTOMERS)

    def refused() -> None:
        answer = client.post("/api/v1/customers", body, content_type="application/json")
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:connect:problem:bad-request")

    assert lost_in(refused) == []


def test_a_body_with_as_many_levels_as_are_read_is_a_body_like_any_other(api: Keys) -> None:
    deepest: Any = "a"
    for _ in range(MOST_NESTED - 1):
        deepest = {"name": deepest}
    assert api().json("post", "customers", {"name": deepest}, status=422)["errors"][0]["field"] == "body.name"
    assert api().json("post", "customers", {"name": [deepest]}, status=400)

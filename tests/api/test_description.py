"""Row P8: every operation of the description answers as it says there, whatever is sent, and nothing of others' data.

Operations, parameters, scopes and schemas come from the description. A new resource needs a code of its own in
`World`, a new body an example in `BODIES`; tests say so.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.api.middleware import MOST_BYTES
from integrations.connecting import sessions
from integrations.models import ApiKey, Connection, Event, OutgoingDelivery, Scope
from integrations.outgoing import delivery_actions, endpoints
from tests.api.conftest import ApiClient, Keys
from tests.api.described import BACK, BODIES, DESCRIPTION, OPERATIONS, Operation, check, escaped, send, valid
from tests.support.clients import Sandbox, quick_connect

pytestmark = pytest.mark.django_db(transaction=True)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
MADE_UP = "nosuchcode22"
every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
# One with a body and one without for each resource; `make test-slow` tries all others.
ONE_OF_EACH = {
    (operation.resource, bool(operation.takes)): operation.name for operation in reversed(OPERATIONS)
}.values()


def each_kind_of(operations: list[Operation]) -> pytest.MarkDecorator:
    tried = [
        pytest.param(operation, marks=[] if operation.name in ONE_OF_EACH else pytest.mark.slow)
        for operation in operations
    ]
    return pytest.mark.parametrize("operation", tried, ids=lambda operation: operation.name)


class World:
    """A customer with one row of each resource."""

    def __init__(self, connection: Connection, event: Event, word: str) -> None:
        self.customer, self.connection, self.event = connection.customer, connection, event
        self.session, secret = sessions.issue(
            customer=self.customer, connection=connection, return_to=f"{BACK}?{word}", by=None
        )
        endpoint, _ = endpoints.create(
            url=f"https://hooks.example/{word}", types=["*"], customer=self.customer, description=word, by=None
        )
        self.delivery = delivery_actions.send_test(endpoint, by=None)
        OutgoingDelivery.objects.filter(pk=self.delivery.pk).update(state=OutgoingDelivery.State.DELIVERED)
        self.codes = {
            "customers": self.customer.code,
            "connections": connection.code,
            "connect-sessions": self.session.code,
            "events": event.code,
            "webhook-endpoints": self.delivery.endpoint.code,
            "deliveries": self.delivery.code,
        }
        # What no answer to somebody else may hold.
        self.words = [
            *self.codes.values(), self.customer.name, self.customer.external_id, connection.company_name, word, secret
        ]  # fmt: skip


def event_of(connection: Connection, word: str) -> Event:
    return Event.objects.create(
        connection=connection, received_at=timezone.now(), finished_at=timezone.now(), state=Event.State.DONE,
        type="Create_Inspection", inspection_id=f"{word}-1", company_id=f"{word}-2", proof=Event.Proof.VERIFIED,
        content=json.dumps({"title": f"{word} Street 7"}), content_sha256="0" * 64,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def bounds(settings: Settings) -> None:
    settings.API_REQUESTS_A_MINUTE = 10**6
    settings.CONNECT_RETURN_ORIGINS = ["https://app.example"]


@pytest.fixture
def own(sandbox: Sandbox, alice: User, acme: Customer) -> World:
    Customer.objects.filter(pk=acme.pk).update(external_id="acme-1")
    connection = quick_connect(acme, sandbox, by=alice)
    connection.customer.refresh_from_db()
    return World(connection, event_of(connection, "Ourlane"), "ourlane")


@pytest.fixture
def other(foreign: Connection) -> World:
    return World(foreign, event_of(foreign, "Theirlane"), "Theirlane")


def test_there_is_an_example_for_every_resource_and_body(own: World) -> None:
    assert {operation.resource for operation in OPERATIONS} == set(own.codes)
    assert {operation.name for operation in OPERATIONS if operation.takes} == set(BODIES)
    for operation in OPERATIONS:
        assert not operation.takes or valid(operation.takes, BODIES[operation.name])
        assert operation.scope in Scope.values


@every_operation
def test_what_is_right_is_answered_as_described_and_needs_its_one_scope(
    operation: Operation, api: Keys, own: World
) -> None:
    status = check(operation, send(api(Scope(operation.scope)), operation, own.codes[operation.resource]))
    assert status < 300 or operation.is_proxy, status
    others = [scope for scope in Scope if scope != operation.scope]
    refused = send(api(*others), operation, own.codes[operation.resource])
    assert check(operation, refused) == 403
    if operation.method != "HEAD":
        assert refused.json()["scope"] == operation.scope


@each_kind_of(OPERATIONS)
def test_a_wrong_key_is_refused_in_the_same_words(operation: Operation, api: Keys, own: World) -> None:
    expired, revoked = api(), api()
    newest, last = ApiKey.objects.order_by("-pk")[:2]
    ApiKey.objects.filter(pk=last.pk).update(expires_at=Now())
    ApiKey.objects.filter(pk=newest.pk).update(revoked_at=Now())
    bodies = set()
    for client in (ApiClient(""), ApiClient("cok_00000000_" + "x" * 43), expired, revoked):
        for code in (own.codes[operation.resource], MADE_UP):
            answer = send(client, operation, code)
            assert check(operation, answer) == 401
            assert answer["WWW-Authenticate"] == "Bearer"
            bodies.add(re.sub(rb'"request_id": "\w*"', b"", answer.content))
    assert len(bodies) == 1


@every_operation
def test_what_belongs_to_others_is_not_there(operation: Operation, api: Keys, own: World, other: World) -> None:
    client = api(customer=own.customer)

    def refused(answer: HttpResponse, *, sent: str = "") -> int:
        status = check(operation, answer)
        shown = answer.content + str(answer.headers).encode()
        leaked = [word for word in other.words if word != sent and word.encode() in shown]
        assert not leaked, leaked
        return status

    if "{code}" in operation.path:
        foreign, made_up = (send(client, operation, code) for code in (other.codes[operation.resource], MADE_UP))
        assert refused(foreign) == refused(made_up) == 404
        if operation.method != "HEAD":
            assert {**foreign.json(), "request_id": ""} == {**made_up.json(), "request_id": ""}
        for code in other.codes.values():
            refused(send(client, operation, code))
    for name in operation.queries:
        for word in other.words:
            answer = send(client, operation, own.codes[operation.resource], query=f"{name}={escaped(word)}")
            assert refused(answer, sent=word) == 422 or answer.json()["items"] == []
    for word in other.words:
        for body in variants(BODIES.get(operation.name), word):
            answer = send(client, operation, own.codes[operation.resource], data=json.dumps(body).encode())
            refused(answer, sent=word)
    for world in (own, other):
        for row in (world.customer, world.connection, world.event, world.session, world.delivery):
            row.refresh_from_db()
    assert (other.customer.name, other.connection.metadata) == ("Globex Lettings", None)


def variants(example: Any, word: str) -> Iterator[Any]:
    """The example with one of its texts replaced by this word, deeper ones included."""
    if isinstance(example, dict):
        for name, one in example.items():
            yield from ({**example, name: variant} for variant in variants(one, word))
    elif isinstance(example, str):
        yield word


HOSTILE: list[str | bytes] = [
    *("", " ", "0", "-1", "1e9", "9" * 400, "null", "[]", "true", "\0", "\r\nX-Injected: 1", "\u202e", "\U0001f3e0"),
    *("' OR 1=1 --", "%s%n", "../../etc/passwd", "<script>alert(1)</script>", "{{7*7}}", "${7*7}", "x" * 5000),
    *(b"\xff", b"\xed\xa0\x80", b"\xc0\x80"),
]


@each_kind_of(OPERATIONS)
def test_hostile_codes_and_queries(operation: Operation, api: Keys, own: World) -> None:
    client = api()
    code = own.codes[operation.resource]
    for value in HOSTILE:
        for name, schema in operation.queries.items():
            answer = send(client, operation, code, query=f"{name}={escaped(value)}")
            status = check(operation, answer)
            text = value if isinstance(value, str) else value.decode(errors="replace")
            if not valid({**schema, "type": schema.get("type", "string")}, text) and schema.get("type") != "integer":
                assert status == 422, (name, value)
        if "{code}" in operation.path and value not in {"", " "}:
            address = operation.path.replace("{code}", escaped(value)).replace("{path}", "user")
            found: Any = client.generic(operation.method, address, operation.body, content_type="application/json")
            assert check(operation, found) == 404, value
    for query in ("limit=1&limit=x", "&&&", "=", "%", "%zz=%", "a" * 6000, "unknown=1", "limit[]=1"):
        check(operation, send(client, operation, code, query=query))


RAW = [
    b"{", b"[]", b"null", b'""', b"1", b"\xff\xfe", b'\xef\xbb\xbf{"name": "a"}', '{"name": "a"}'.encode("utf-16"),
    b"[" * 30_000, b'{"a":' * 10_000, b"9" * 60_000, b'{"name": 1e999999}', b'{"name": NaN}',
    b'{"name": "a", "name": "b"}',    b'{"name": "\\ud83d"}', b'{"name": "\\u0000"}', b'{"__proto__": {}}', b"\0" * 100,
    b"a" * (MOST_BYTES + 1),
]  # fmt: skip
KINDS = [
    *(
        "application/json",
        "application/json; charset=utf-16",
        "application/json; charset=nonsense",
        "text/plain",
        "*/*",
    ),
    *(
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "\u00e9",
        "a;" * 999,
    ),
]


@each_kind_of(OPERATIONS)
def test_hostile_bodies(operation: Operation, api: Keys, own: World) -> None:
    client, code = api(), own.codes[operation.resource]
    for data in RAW:
        status = check(operation, send(client, operation, code, data=data))
        assert status in {400, 413, 422} or not operation.takes or b"name" in data.replace(b"\0", b""), data[:50]
    for kind in KINDS:
        check(operation, send(client, operation, code, data=operation.body or b"{}", content_type=kind))
    check(operation, send(client, operation, code, data=b"", content_type="application/json"))


HEADERS = [
    {"Accept": "text/html"}, {"Accept": "\u00ff"}, {"Accept-Encoding": "identity;q=0, *;q=0"}, {"Range": "bytes=0-1"},
    {"Content-Length": "-1"}, {"Content-Length": "abc"}, {"Content-Length": "9" * 400},
    {"Transfer-Encoding": "chunked"}, {"Content-Encoding": "gzip"}, {"If-None-Match": "*"},
    {"X-Http-Method-Override": "DELETE"}, {"X-Forwarded-Host": "evil.example"}, {"X-Forwarded-For": "\0"},
    {"Origin": "https://evil.example"}, {"Cookie": "sessionid=x; a" * 200}, {"If-Modified-Since": "yesterday"},
    {"X-Request-Id": "\r\n" + "x" * 5000}, {"Referer": "\ud83d\ude00"}, {"Accept-Language": "x" * 5000},
]  # fmt: skip


@each_kind_of(OPERATIONS)
def test_hostile_headers_and_methods(operation: Operation, api: Keys, own: World) -> None:
    client, code = api(), own.codes[operation.resource]
    for headers in HEADERS:
        answer = send(client, operation, code, headers=headers)
        check(operation, answer)
        assert "evil.example" not in str(answer.content) + str(answer.headers)
    allowed = {method.upper() for method in DESCRIPTION["paths"][operation.path]}
    for method in METHODS:
        if method not in allowed:
            wrong = Operation(method, operation.path, operation.details)
            answer = send(client, wrong, code)
            assert check(wrong, answer) == 405, method
            assert set(answer["Allow"].replace(" ", "").split(",")) == allowed


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud83d", "\0", "x" * 2001])
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


def changed(example: Any) -> st.SearchStrategy[Any]:
    """The example with one member replaced, taken away or added, at any depth; or something else altogether."""
    if not isinstance(example, dict):
        return values
    kinds: list[st.SearchStrategy[Any]] = [
        values,
        st.tuples(st.text(max_size=5), values).map(lambda more: {**example, more[0]: more[1]}),
    ]
    for name, one in example.items():
        rest = {key: value for key, value in example.items() if key != name}
        kinds += [st.just(rest), changed(one).map(partial(replaced, example, name))]
    return st.one_of(kinds)


def replaced(example: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**example, name: value}


@each_kind_of([operation for operation in OPERATIONS if operation.takes])
def test_bodies_that_the_description_refuses_are_refused(operation: Operation, api: Keys, own: World) -> None:
    client, code = api(), own.codes[operation.resource]

    @examples(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(changed(BODIES[operation.name]))
    def holds(body: Any) -> None:
        data = json.dumps(body).encode()
        status = check(operation, send(client, operation, code, data=data))
        if not valid(operation.takes, json.loads(data)):
            assert status in {413, 422}

    holds()

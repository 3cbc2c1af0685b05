"""The door for SnapInspect's server: rows W7, W8, W10 and W14 of the score card."""

import gzip
import io
import json
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from django.db import DatabaseError
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings

from accounts.models import Customer, User
from connectapp import redaction
from integrations import webhooks
from integrations.events import webhook_addresses
from integrations.models import Connection, Delivery, Event, WebhookAddress
from integrations.snapinspect.webhook_body import PROBLEMS
from integrations.snapinspect.webhook_members import LONGEST_TYPE
from tests.settings import SENTINEL
from tests.support.clients import Sandbox, Visitor, work
from tests.support.deliveries import INSPECTION, NEW, OLD, deliver, path_of, payload, post
from tests.support.measurements import record

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def connection(acme: Customer) -> Connection:
    return Connection.objects.create(customer=acme, company_id="6847")


def test_W14_only_a_post_is_a_delivery_and_success_is_exactly_200() -> None:
    path = f"/webhooks/snapinspect/{NEW}/"
    for address in (path, path[:-1], f"{path}?sType=x"):
        answer = Visitor(enforce_csrf_checks=True).post(address, b"{}", content_type="application/json")
        assert (answer.status_code, answer.content) == (200, b"")
        assert "Location" not in answer.headers and not answer.cookies
    for method in ("get", "head", "put", "delete", "options", "patch"):
        answer = getattr(Client(), method)(path)
        assert (answer.status_code, answer["Allow"]) == (405, "POST")
    record(
        "W14",
        "other methods, no last slash, a query",
        "exactly 200 for 3 of 3 POSTs, 405 for 6 of 6 methods, 0 redirects",
    )
    assert Delivery.objects.count() == 3


def test_W14_plain_http_in_production_is_no_reason_to_redirect_a_post(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    answer = post(payload(), headers={"X-Forwarded-For": "192.0.2.1"})
    assert answer.status_code == 200


def test_the_body_is_kept_byte_for_byte_and_nothing_else_happens_before_the_answer(
    sandbox: Sandbox,
    connection: Connection,
    django_assert_num_queries: Callable[[int], AbstractContextManager[object]],
) -> None:
    post(payload())
    raw = b' {"iInspectionID":\t1}\r\n\x00\xff'
    with django_assert_num_queries(1):
        assert post(raw, content_type="text/x-odd").status_code == 200

    delivery = Delivery.objects.first()
    assert delivery is not None
    assert (bytes(delivery.body), delivery.content_type, delivery.state) == (raw, "text/x-odd", "received")
    assert not sandbox.calls()
    assert not Event.objects.exists()


def test_W7_every_listed_secret_opens_the_door_and_any_other_leaves_no_row() -> None:
    for secret in (NEW, OLD):
        assert post(payload(), secret).status_code == 200
    for wrong in (OLD[:-1], NEW[:-1], NEW + "x", NEW.upper(), "x", "%00", "%F0%9F", "é", "a" * 3000, "-" * 43):
        assert post(payload(), wrong).status_code == 404
    assert Client().post("/webhooks/snapinspect/", b"{}", content_type="application/json").status_code == 404
    rows = Delivery.objects.count() - 2
    record("W7", "11 wrong or missing secrets", f"404 for all, {rows} rows")
    assert Delivery.objects.count() == 2


def test_W7_a_secret_that_was_taken_out_of_the_settings_opens_nothing(settings: Settings) -> None:
    settings.SNAPINSPECT_WEBHOOK_SECRETS = [NEW]
    assert post(payload(), OLD).status_code == 404
    assert not Delivery.objects.exists()


def test_W7_while_a_connection_s_address_is_replaced_nothing_is_lost(connection: Connection, alice: User) -> None:
    old = webhook_addresses.issue(connection, by=alice)
    assert webhook_addresses.issue(connection) == old == webhook_addresses.address_of(connection)
    accepted = 0
    for number in range(100):
        if number == 50:
            new = webhook_addresses.rotate(connection, by=alice)
        accepted += post(payload(), old).status_code == 200
    assert post(payload(), new).status_code == 200
    record("W7", "an address is replaced while deliveries come", f"{100 - accepted} of 100 lost")
    assert accepted == 100
    assert set(Delivery.objects.values_list("connection", flat=True)) == {connection.pk}

    newest = webhook_addresses.rotate(connection, by=alice)
    assert [post(payload(), address).status_code for address in (old, new, newest)] == [404, 200, 200]
    WebhookAddress.objects.exclude(valid_until=None).update(valid_until=Now() - timedelta(seconds=1))
    assert [post(payload(), address).status_code for address in (new, newest)] == [404, 200]


def test_an_address_is_built_from_the_registered_host_and_its_secret_is_stored_sealed(
    connection: Connection, settings: Settings
) -> None:
    settings.SNAPINSPECT_REDIRECT_URI = "https://app.example.com/connect/callback/"
    address = webhook_addresses.issue(connection)
    secret = address.rstrip("/").rpartition("/")[2]

    assert address == f"https://app.example.com/webhooks/snapinspect/{secret}/"
    assert webhook_addresses.application_address() == f"https://app.example.com/webhooks/snapinspect/{NEW}/"
    assert len(secret) >= 43
    assert secret not in str(WebhookAddress.objects.values().get())
    assert path_of(address).startswith("/webhooks/snapinspect/")


DEEP = b"[" * 30_000 + b"]" * 30_000
# Bodies, and the problem with each; empty for those that name their company, whatever else is odd about them.
HOSTILE: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b" \r\n", "empty"),
    (b"<inspection id='1'/>", "not_json"),
    (b'{"iInspectionID": 1, "iCompanyID": 6847', "not_json"),
    (DEEP, "too_deep"),
    (gzip.compress(b" " * 2_000_000), "too_large"),
    (b"[]", "not_object"),
    (b'"text"', "not_object"),
    (b'{"iInspectionID": 1, "iCompanyID": -6847}', "bad_company_id"),
    (b'{"iInspectionID": 1, "iCompanyID": "n/a"}', "bad_company_id"),
    (b'{"iInspectionID": 1, "iCompanyID": true}', "bad_company_id"),
    (b'{"iInspectionID": 1, "iCompanyID": 6847.5}', "bad_company_id"),
    (b"iInspectionID=1&iCompanyID=6847", ""),
    (b'{"iInspectionID": NaN, "iCompanyID": 6847}', ""),
    (b'{"iInspectionID": 1' + b"0" * 5000 + b', "iCompanyID": 6847}', ""),
    ('{"iCompanyID": 6847}'.encode("utf-16"), ""),
    (b'{"sType": "\xed\xa0\x80", "iCompanyID": 6847}', ""),
    (b"\xef\xbb\xbf" + json.dumps(payload()).encode(), ""),
    (b'{"iInspectionID": " 0017 ", "iCompanyID": "6847", "note": "\\ud800\\u0000"}', ""),
]


def test_W8_a_hostile_body_is_acknowledged_kept_and_quarantined_with_a_reason(connection: Connection) -> None:
    statuses = [post(body).status_code for body, _ in HOSTILE]
    work()

    kept = Delivery.objects.order_by("pk")
    readable = sum(delivery.state == "placed" for delivery in kept)
    record(
        "W8",
        f"{len(HOSTILE)} hostile bodies",
        f"answered {sorted(set(statuses))}, {len(kept)} kept byte for byte, {len(kept) - readable} quarantined with a "
        f"reason, {readable} read",
    )
    assert set(statuses) == {200}
    assert [bytes(delivery.body) for delivery in kept] == [body for body, _ in HOSTILE]
    assert [(delivery.state, delivery.problem) for delivery in kept] == [
        ("quarantined" if problem else "placed", problem) for _, problem in HOSTILE
    ]
    assert all(PROBLEMS[problem] for _, problem in HOSTILE if problem)


@pytest.mark.parametrize(
    ("fields", "type_", "inspection", "review"),
    [
        (
            '"sType": "Update_Inspection_Status", "iInspectionID": 7, "iInsReviewID": 0',
            "Update_Inspection_Status",
            "7",
            "",
        ),
        ('"sType": "X", "iInspectionID": 7, "iInsReviewID": -1', "X", "7", ""),
        ('"sType": "X", "iInspectionID": 7, "iInsReviewID": "n/a"', "X", "7", ""),
        ('"sType": "X", "iInspectionID": 7, "iInsReviewID": {}', "X", "7", ""),
        ('"sType": "X", "iInspectionID": 0', "X", "", ""),
        ('"sType": "X", "iInspectionID": "1/../2"', "X", "", ""),
        ('"sType": "X", "iInspectionID": true', "X", "", ""),
        ('"sType": "X", "iInspectionID": 1180591620717411303424', "X", "", ""),
        ('"sType": "X", "iInspectionID": 7.0, "iInsReviewID": "8.00"', "X", "7", "8"),
        ('"sType": "X", "iInspectionID": 7e0', "X", "7", ""),
        ('"sType": 12, "iInspectionID": 7', "12", "7", ""),
        ('"sType": ["X"], "iInspectionID": 7', "", "7", ""),
        ('"sType": null, "iInspectionID": 7, "x": NaN, "y": 1e400, "z": -Infinity', "", "7", ""),
        ('"sType": "a\\u0000b", "iInspectionID": 7', "a\ufffdb", "7", ""),
        ('"sType": "\\ud800", "iInspectionID": 7', "\ufffd", "7", ""),
        ('"sType": " Done \t🙂 e\u0301\\n", "iInspectionID": 7', "Done 🙂 e\u0301", "7", ""),
        (f'"sType": "{"x" * 500}", "iInspectionID": 7', "x" * LONGEST_TYPE, "7", ""),
        ('"STYPE": "X", "iinspectionid": 7, "IINSREVIEWID": 8', "X", "7", "8"),
        ('"sType": "X", "iInspectionID": 7, "deep": ' + "[" * 500 + "]" * 500, "X", "7", ""),
        ('"sType": "X", "iInspectionID": 7, "n": ' + "9" * 5000, "X", "7", ""),
    ],
)
@pytest.mark.parametrize("company", ["6847", '"6847"', "6847.0", '" 06847.0 "', "6.847e3"])
@pytest.mark.interface
def test_a_delivery_is_placed_when_its_company_can_be_read(
    fields: str, type_: str, inspection: str, review: str, company: str, connection: Connection
) -> None:
    deliver(f'{{{fields}, "iCompanyID": {company}}}'.encode())
    event = Event.objects.get()
    assert (event.type, event.inspection_id, event.review_id) == (type_, inspection, review)
    assert (event.company_id, event.connection) == ("6847", connection)


BODY = json.dumps(payload()).encode()
BOUNDARY = b"----x7"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"payload=" + quote(BODY).encode(), "application/x-www-form-urlencoded"),
        (b"a=1&data=" + quote_plus(BODY).encode() + b"&z=", "application/x-www-form-urlencoded"),
        (urlencode(payload()).encode(), "application/x-www-form-urlencoded"),
        (b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="payload"\r\n\r\n' + BODY + b"\r\n--" + BOUNDARY
         + b"--\r\n", "multipart/form-data; boundary=----x7"),
        (gzip.compress(BODY), "application/json"),
        (gzip.compress(b"payload=" + quote(BODY).encode()), ""),
        (json.dumps({"payload": payload()}).encode(), "application/json"),
        (json.dumps({"payload": json.dumps(payload())}).encode(), "application/json"),
        (json.dumps([payload()]).encode(), "application/json"),
        (json.dumps(payload()).encode("utf-16"), "application/json"),
        (b"\xef\xbb\xbf\n" + BODY, "text/plain"),
        (BODY.replace(b"}", b', "s": "Zo\xeb\x01"}'), "application/json"),
    ],
)  # fmt: skip
def test_odd_wrappings_are_opened(body: bytes, content_type: str, connection: Connection) -> None:
    post(body, content_type=content_type)
    work()
    event = Event.objects.get()
    assert (event.type, event.inspection_id, event.company_id) == ("Create_Inspection", str(INSPECTION), "6847")


def test_each_event_of_a_list_is_one(connection: Connection, charlie: User) -> None:
    other = Connection.objects.create(customer=charlie.customers.get(), company_id="7001")
    several = [payload(inspection=1), payload(inspection=2), payload(inspection=3) | {"iCompanyID": 7001}, 5,
               payload(inspection=4) | {"iCompanyID": 9999}]  # fmt: skip
    deliver(several)
    work()

    assert sorted(connection.events.values_list("inspection_id", flat=True)) == ["1", "2"]
    assert other.events.get().inspection_id == "3"
    states = Counter(Delivery.objects.values_list("state", flat=True))
    assert states == {"placed": 4, "quarantined": 1, "unmatched": 1}
    deliver(several)
    work()
    assert Event.objects.count() == 3, "sent again they are the same"


def test_at_a_connections_own_address_the_company_need_not_be_read(connection: Connection) -> None:
    address = webhook_addresses.issue(connection)
    secret = address.rstrip("/").rpartition("/")[2]
    deliver(payload() | {"iCompanyID": "n/a"}, secret=secret)
    assert Event.objects.get().connection == connection


def test_W8_one_hostile_body_does_not_hold_up_the_next(connection: Connection) -> None:
    deliver(DEEP, payload())
    assert sorted(Delivery.objects.values_list("state", flat=True)) == ["placed", "quarantined"]


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
@pytest.mark.parametrize("size", [webhooks.MOST_BYTES, webhooks.MOST_BYTES + 1, 10_000_000])
def test_W8_the_cap_is_64_KiB(size: int, chunked: bool) -> None:
    body = b"x" * size
    status = status_for(io.BytesIO(body), HTTP_TRANSFER_ENCODING="chunked") if chunked else post(body).status_code
    assert status == (200 if size == webhooks.MOST_BYTES else 413)
    assert [len(bytes(delivery.body)) for delivery in Delivery.objects.all()] == ([size] if status == 200 else [])


def status_for(stream: io.BytesIO, **headers: str) -> int:
    """The answer to a POST whose body comes out of this stream, as a server hands it over."""
    request: dict[str, Any] = {"wsgi.input": stream, "CONTENT_LENGTH": "", **headers}
    return Visitor().generic("POST", f"/webhooks/snapinspect/{NEW}/", **request).status_code


class Broken(io.BytesIO):
    """gunicorn's error for a connection that ends within a chunk is a plain Exception of its own."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise RuntimeError("no more data")


@pytest.mark.parametrize(
    ("stream", "headers"),
    [
        (io.BytesIO(b"{}"), {"CONTENT_LENGTH": "3"}),
        (Broken(), {"CONTENT_LENGTH": "3"}),
        (Broken(), {"HTTP_TRANSFER_ENCODING": "chunked"}),
    ],
    ids=["too short", "broken off", "broken off in a chunk"],
)
def test_a_body_that_ends_early_is_not_acknowledged(stream: io.BytesIO, headers: dict[str, str]) -> None:
    assert status_for(stream, **headers) == 400
    assert not Delivery.objects.exists()


def test_W10_a_store_that_is_down_is_a_503_never_a_200(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: object, **kwargs: object) -> None:
        raise DatabaseError("disk I/O error")

    monkeypatch.setattr(type(Delivery.objects.all()), "store", down)
    monkeypatch.setattr(Delivery.objects, "store", down)
    answer = post(payload())
    assert (answer.status_code, answer["Retry-After"]) == (503, "60")


def test_the_secret_stands_in_no_log() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(redaction.RedactingFormatter())
    logging.getLogger().addHandler(handler)
    try:
        post(payload())
        post(payload(), NEW + "-wrong")
        Client().get(f"/webhooks/snapinspect/{NEW}/")
        post(b"x" * 70_000)
    finally:
        logging.getLogger().removeHandler(handler)
    assert written.getvalue().count("/webhooks/snapinspect/[redacted]/") == 3
    assert SENTINEL not in written.getvalue()

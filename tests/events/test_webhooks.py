"""The door for SnapInspect's server: rows W7, W8, W10 and W14 of the score card."""

import io
import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings

from accounts.models import Customer, User
from connectapp import redaction
from integrations import webhooks
from integrations.background import jobs
from integrations.events import webhook_addresses
from integrations.models import Connection, Delivery, Event, WebhookAddress
from integrations.snapinspect.webhook_body import PROBLEMS
from tests.settings import SENTINEL
from tests.support.clients import Sandbox, Visitor, work
from tests.support.deliveries import NEW, OLD, deliver, path_of, payload, post
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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "WAKE_UPS_APART", 60)
    post(payload())  # wakes a worker, and the next ones do not have to
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
HOSTILE: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b" \r\n", "empty"),
    (b"iInspectionID=1&iCompanyID=6847", "not_json"),
    (b"<inspection id='1'/>", "not_json"),
    (b'{"iInspectionID": 1, "iCompanyID": 6847', "not_json"),
    (b'{"iInspectionID": NaN, "iCompanyID": 6847}', "not_json"),
    (b'{"iInspectionID": 1' + b"0" * 5000 + b', "iCompanyID": 6847}', "not_json"),
    (b'\xff\xfe{"iInspectionID": 1}', "not_text"),
    ('{"iInspectionID": 1}'.encode("utf-16"), "not_text"),
    (b'{"sType": "\xed\xa0\x80", "iCompanyID": 6847}', "not_text"),
    (DEEP, "too_deep"),
    (b"[]", "not_object"),
    (b'"text"', "not_object"),
    (b'{"sType": "a\\u0000b", "iCompanyID": 6847}', "bad_type"),
    (b'{"sType": "\\ud800", "iCompanyID": 6847}', "bad_type"),
    (json.dumps({"sType": "x" * 101}).encode(), "bad_type"),
    (b'{"sType": ["Create_Inspection"], "iCompanyID": 6847}', "bad_type"),
    (b'{"iInspectionID": 1180591620717411303424, "iCompanyID": 6847}', "bad_inspection_id"),
    (b'{"iInspectionID": 1.0, "iCompanyID": 6847}', "bad_inspection_id"),
    (b'{"iInspectionID": true, "iCompanyID": 6847}', "bad_inspection_id"),
    (b'{"iInspectionID": "1/../2", "iCompanyID": 6847}', "bad_inspection_id"),
    (b'{"iInspectionID": 1, "iCompanyID": -6847}', "bad_company_id"),
    (b'{"iInspectionID": 1, "iInsReviewID": {}, "iCompanyID": 6847}', "bad_review_id"),
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


def test_a_wake_up_that_fails_does_not_turn_a_stored_delivery_into_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Drain:
        module_path = "x"

        def enqueue(self) -> None:
            raise ConnectionError

    monkeypatch.setattr(jobs, "drain", Drain())
    monkeypatch.setattr(jobs, "_woken_at", 0.0)
    assert post(payload()).status_code == 200
    assert Delivery.objects.count() == 1
    assert jobs.due() == 1, "the sweep would find it"


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

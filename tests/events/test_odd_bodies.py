"""Odd bodies on their way to events, people and staff: placed where a company is named, readable where it is not."""

import gzip
import json
from collections.abc import Callable
from html import unescape
from urllib.parse import urlencode

import pytest
from django.test import Client

from accounts.models import Customer, User
from integrations.events import parked
from integrations.events.handlers import Happening
from integrations.models import Connection, Delivery, Event
from tests.support.clients import Visitor, work
from tests.support.deliveries import INSPECTION, deliver, only_event, payload, post

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
PLAIN = json.dumps(payload()).encode()
FORM = b'--b\r\nContent-Disposition: form-data; name="payload"\r\n\r\n' + PLAIN + b"\r\n--b--"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (urlencode({"payload": PLAIN.decode()}).encode(), "application/x-www-form-urlencoded"),
        (FORM, "multipart/form-data; boundary=b"),
        (gzip.compress(PLAIN), "application/json"),
        (PLAIN.decode().encode("utf-16"), "application/json"),
        (PLAIN.replace(b"}", b', "sStatus": "ge\xe4ndert"}'), "application/json"),
        (PLAIN.replace(b"6847", b"6847.0"), "text/plain"),
        (PLAIN.replace(b"}", b', "sStatus": "C:\\Users"}'), "application/json"),
        (gzip.compress(gzip.compress(json.dumps(PLAIN.decode()).encode())), "application/octet-stream"),
        (PLAIN.replace(b"}", b', "iInsReviewID": 0}'), ""),
        (PLAIN.replace(b"}", b', "iInsReviewID": {}, "x": NaN, "\\ud800": 1e400}'), ""),
    ],
)  # fmt: skip
def test_an_odd_body_that_names_a_company_is_looked_up_and_handled_like_any_other(
    body: bytes, content_type: str, connection: Connection, handled: list[Happening]
) -> None:
    assert post(body, content_type=content_type).status_code == 200
    work()

    event = only_event()
    assert (event.state, event.proof, event.inspection_id) == (Event.State.DONE, Event.Proof.VERIFIED, INSPECTION)
    assert [(happening.type, happening.review_id) for happening in handled] == [("Create_Inspection", "")]
    assert bytes(Delivery.objects.get().body) == body


def test_compressed_bodies_come_with_their_header(connection: Connection) -> None:
    assert post(gzip.compress(PLAIN), headers={"Content-Encoding": "gzip"}).status_code == 200
    work()
    assert only_event().inspection_id == INSPECTION


def test_what_could_not_be_read_stands_beside_the_event_as_it_came(
    connection: Connection, visit: Visit, alice: User, acme: Customer, admin_client: Client
) -> None:
    deliver(gzip.compress(json.dumps(payload(iInsReviewID={"odd": "review"}, sType=["x"])).encode()))
    event = only_event()
    assert (event.type, event.review_id) == ("", "")
    page = unescape(visit(alice).get(f"/c/{acme.code}/events/{event.code}/").content.decode())
    assert "iInsReviewID is not a positive whole number" in page and '"odd": "review"' in page
    staff = unescape(
        admin_client.get(f"/admin/integrations/delivery/{Delivery.objects.get().pk}/change/").content.decode()
    )
    assert "iInsReviewID is not a positive whole number" in staff and '"odd": "review"' in staff


def test_an_item_of_a_list_is_said_to_be_about_what_the_objects_around_it_name(
    connection: Connection, handled: list[Happening]
) -> None:
    reviews = [{"iInspectionID": int(INSPECTION), "iInsReviewID": number} for number in (1, 2)]
    deliver({"sType": "Create_Review", "company": {"iCompanyID": 5}, "iCompanyID": 6847, "reviews": reviews})
    work()
    assert [(happening.type, happening.review_id) for happening in handled] == [
        ("Create_Review", "1"), ("Create_Review", "2"),
    ]  # fmt: skip
    assert {event.company_id for event in Event.objects.all()} == {"6847"}


@pytest.mark.parametrize("body", [b"rubbish", b"", b'{"iInspectionID": 1, "iCompanyID": "x"}'])
def test_staff_assign_a_delivery_that_names_nobody(
    body: bytes, connection: Connection, alice: User, visit: Visit, acme: Customer
) -> None:
    deliver(body)
    delivery = Delivery.objects.get()
    assert delivery.state == "quarantined"
    assert parked.assign(delivery, connection, by=alice)
    work()

    delivery.refresh_from_db()
    assert delivery.state == "placed" and delivery.problem
    event = only_event(connection)
    assert event.is_open is False or event.attempts
    assert visit(alice).get(f"/c/{acme.code}/events/{event.code}/").status_code == 200
    assert not parked.assign(delivery, connection, by=alice), "it is placed"

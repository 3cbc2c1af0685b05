"""Whatever SnapInspect answers or anybody posts: every page and file that can show it is 200, small and quick."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accounts.models import Customer, User
from integrations import webhooks
from integrations.models import Connection, ConnectionTest, Delivery, Event, EventDelivery, State
from integrations.snapinspect import json_text
from tests.support.clients import Visitor, work
from tests.support.deliveries import NEW

pytestmark = pytest.mark.django_db(transaction=True)

MOST_BYTES, MOST_SECONDS = 1_000_000, 1.0

texts = st.text(st.characters(), max_size=40) | st.sampled_from(
    ["\ud83d", "\0", "\u202e", "<script>alert(1)</script>", "'\"&" * 100, "\x07", "x" * 5000, "{{ 7 }}", "=1+1"]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))


def nested(depth: int, inside: str = "1", opening: str = "[", closing: str = "]") -> str:
    return opening * depth + inside + closing * depth


BODIES = [
    nested(700).encode(),
    nested(5000).encode(),
    nested(700, opening='{"a":', closing="}").encode(),
    b'{"iCompanyID": 6847, "sType": "\\ud83d", "iInspectionID": 1, "deep": ' + nested(700).encode() + b"}",
    b'{"iCompanyID": 6847, "sType": "' + b"&" * 60_000 + b'", "iInspectionID": 2}',
    b'{"iCompanyID": 6847, "x": ' + b"9" * 5000 + b"}",
    b"\xff\xfe" + "{}".encode("utf-16-le"),
    b"\0" * 100,
    b'"' * 60_000,
]
bodies = (
    st.sampled_from(BODIES)
    | st.binary(max_size=200)
    | values.map(
        lambda value: json.dumps({"iCompanyID": 6847, "iInspectionID": 5, "sType": value, "more": value}).encode()
    )
).filter(lambda body: len(body) <= webhooks.MOST_BYTES)


@pytest.fixture
def connection(acme: Customer) -> Connection:
    return Connection.objects.create(customer=acme, state=State.CONNECTED, company_id="6847")


def get(visitor: Visitor, path: str) -> None:
    started = time.thread_time()  # of this thread alone: other tests run beside it
    answer: Any = visitor.get(path)
    size = len(b"".join(answer) if answer.streaming else answer.content)
    assert answer.status_code == 200, path
    assert size <= MOST_BYTES, (path, size)
    assert time.thread_time() - started <= MOST_SECONDS * 5, "the generous limit of a shared machine"


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(body=bodies, answer=values)
@example(body=BODIES[3], answer={"title": "\ud83d", "deep": json.loads(nested(90))})
@example(body=BODIES[0], answer=["&" * 5000] * 200)
@example(body=BODIES[0], answer={"\ud83d\0" * 40: "\ud83d\0", "sNote": "\ud83d"})
def test_pages_and_files_stay_small_whatever_came(
    visit: Callable[[User], Visitor], alice: User, acme: Customer, connection: Connection, body: bytes, answer: Any
) -> None:
    Delivery.objects.all().delete()
    Event.objects.all().delete()
    posted = Visitor().generic("POST", f"/webhooks/snapinspect/{NEW}/", body, content_type="application/json")
    work()
    assert posted.status_code == 200
    delivery = Delivery.objects.get()
    escaped = json.dumps(answer)
    # As an answer is stored: half pairs and NULs are repaired when it is read.
    known = json.loads(re.sub(r"\\u(d[89a-f][0-9a-f]{2}|0000)", "?", escaped), parse_constant=str)
    event = Event.objects.create(
        connection=connection, received_at=delivery.received_at, content=escaped, proof="verified",
        inspection_id="7", state=Event.State.DONE,
    )  # fmt: skip
    EventDelivery.objects.create(event=event, delivery=delivery)
    test = ConnectionTest.objects.create(
        connection=connection, by=alice, duration=event.received_at - event.received_at, answer=known
    )

    member, staff = (
        visit(alice),
        visit(User.objects.get_or_create(email="root@example.com", is_staff=True, is_superuser=True)[0]),
    )
    below = f"/c/{acme.code}"
    for path in ["/", "/events/", "/events.csv", *(f"/events/{one.code}/" for one in Event.objects.shown()[:3])]:
        get(member, f"{below}{path}")
    get(member, f"{below}/connections/{connection.code}/checks/{test.pk}/")
    for path in [f"delivery/{delivery.pk}/change/", "delivery/", f"event/{event.pk}/change/", "event/"]:
        get(staff, f"/admin/integrations/{path}")


@given(values)
def test_the_printer_is_bounded_and_writes_utf_8(value: Any) -> None:
    shown, is_cut = json_text.laid_out(value, most=200)
    assert len(shown) <= 200
    assert shown.encode().isascii() or shown
    assert is_cut or json.loads(shown) is not ...


@pytest.mark.parametrize("depth", [90, 700, 5000])
def test_depth_costs_no_memory(depth: int) -> None:
    assert len(json_text.text_laid_out(nested(depth), most=5000)) <= 5000 + len(json_text.CUT)

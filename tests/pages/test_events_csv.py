"""Row 29 of the check-list: exactly the events of a filter as a file, whatever their number."""

import csv
import io
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEntry, Customer, User
from integrations.models import Connection, Event, State
from tests.support.clients import Visitor
from tests.support.many_events import LAST, make_events
from tests.support.measurements import record
from tests.support.sizes import size

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def connection(acme: Customer) -> Connection:
    return Connection.objects.create(customer=acme, state=State.CONNECTED, company_name="Harbour")


def rows(answer: Any) -> list[list[str]]:
    assert answer.status_code == 200
    text = b"".join(answer.streaming_content).decode()
    assert text.startswith("\ufeff"), "without a byte order mark Excel does not take it for UTF-8"
    return list(csv.reader(io.StringIO(text[1:])))


def test_anybody_inside_downloads_exactly_what_the_filter_shows(
    visit: Visit, victor: User, acme: Customer, connection: Connection
) -> None:
    make_events(connection, 3)
    make_events(connection, 2, state=Event.State.FAILED, last_error_kind="handler_failed", attempts=8)

    answer = visit(victor).get(f"/c/{acme.code}/events.csv?state=failed")
    today = f"{timezone.now():%Y-%m-%d}"
    assert answer["Content-Disposition"] == f'attachment; filename="events-acme-property-{today}.csv"'
    header, *found = rows(answer)
    assert [row[header.index("inspection")] for row in found] == ["1001", "1000"]
    assert {row[header.index("state")] for row in found} == {"Failed"}
    assert found[0][header.index("received (UTC)")] == "2026-11-20T12:00:00.000000Z"
    entry = AuditEntry.objects.get(kind="events.exported")
    assert (entry.customer, entry.actor, entry.detail) == (acme, victor, {"state": "failed"})


def test_times_are_exact_and_in_utc(visit: Visit, alice: User, acme: Customer, connection: Connection) -> None:
    make_events(connection, 1, received_at=datetime(2026, 3, 29, 0, 59, 59, 999_999, UTC), finished_at=LAST)

    header, found = rows(visit(alice).get(f"/c/{acme.code}/events.csv"))
    told = dict(zip(header, found, strict=True))
    assert told["received (UTC)"] == "2026-03-29T00:59:59.999999Z"
    assert told["finished (UTC)"] == "2026-11-20T12:00:00.000000Z"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str, visit: Visit, alice: User, acme: Customer, connection: Connection) -> None:
    hostile = f'{start}HYPERLINK("http://evil.example","x")'
    Connection.objects.update(company_name=hostile)
    make_events(connection, 1, type=hostile, inspection_id="1")

    _, found = rows(visit(alice).get(f"/c/{acme.code}/events.csv"))
    assert [cell for cell in found if cell.startswith(start)] == []
    assert found.count(f"'{hostile}") == 3


def test_words_of_every_language_arrive(visit: Visit, alice: User, acme: Customer, connection: Connection) -> None:
    Connection.objects.update(company_name="Łódź, „Hafen“ 東京")
    Customer.objects.update(name="東京")
    make_events(connection, 1)

    answer = visit(alice).get(f"/c/{acme.code}/events.csv")
    assert acme.code in answer["Content-Disposition"]
    assert "Łódź, „Hafen“ 東京" in rows(answer)[1]


def test_a_filter_that_makes_no_sense_downloads_nothing_and_is_explained(
    visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    answer = visit(alice).get(f"/c/{acme.code}/events.csv?state=nothing", follow=True)
    assert "“nothing” is not an event status." in answer.text
    assert not AuditEntry.objects.filter(kind="events.exported").exists()


def test_a_file_holds_no_event_of_others(
    visit: Visit, alice: User, charlie: User, acme: Customer, connection: Connection
) -> None:
    his = Connection.objects.create(customer=charlie.customers.get())
    make_events(his, 2)
    make_events(connection, 1)

    assert len(rows(visit(alice).get(f"/c/{acme.code}/events.csv"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("connections", [1, 3])
def test_it_is_written_in_chunks_without_a_transaction_in_constant_memory(
    connections: int, visit: Visit, alice: User, acme: Customer, connection: Connection
) -> None:
    several = [connection, *(Connection.objects.create(customer=acme) for _ in range(connections - 1))]
    count = size(4_000, 200_000)
    for one in several:
        for _ in range(count // connections // 1000):
            make_events(one, 1000, content="x" * 2000)
    browser = visit(alice)
    browser.get(f"/c/{acme.code}/events.csv?state=failed").getvalue()

    with CaptureQueriesContext(database) as asked:
        answer: Any = browser.get(f"/c/{acme.code}/events.csv")
        tracemalloc.start()
        lines = 0
        sent: Iterator[bytes] = iter(answer.streaming_content)
        for _ in sent:
            lines += 1
            assert not database.in_atomic_block
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    total = Event.objects.count()
    assert lines == total + 1
    # Per 500 events: how far to look, the events, their connections.
    assert len(asked) <= 20 + 3 * (total // 500 + 1)
    record("D29", f"CSV of {connections} connections", f"{total:,} events, {peak / 1e6:.1f} MB at most")
    assert peak < 8e6

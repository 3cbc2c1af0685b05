"""The list of events: its filter stands in the address, and it stays quick however many there are."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from accounts.models import Customer, User
from integrations.models import Connection, Event, Kind, State
from tests.support.clients import Visitor, work
from tests.support.many_events import LAST, make_events
from tests.support.measurements import record
from tests.support.query_plans import rows_read
from tests.support.sizes import size

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def connection(acme: Customer) -> Connection:
    return Connection.objects.create(customer=acme, state=State.CONNECTED, company_id="6847")


@pytest.fixture
def where(acme: Customer) -> str:
    return f"/c/{acme.code}/events/"


def inspections(page: str) -> list[str]:
    """Those on the page, from top to bottom."""
    return re.findall(r">Inspection (\d+)</div>", page)


def link(page: str, words: str) -> str:
    found = re.search(rf'href="\?([^"]*)">{words}</a>', page)
    assert found, f"no link {words}"
    return "?" + found[1].replace("&amp;", "&")


def test_the_newest_come_first_and_older_and_newer_pages_lead_there_and_back(
    visit: Visit, alice: User, where: str, connection: Connection
) -> None:
    make_events(connection, 120)
    browser = visit(alice)

    first = browser.get(where).text
    second = browser.get(where + link(first, "Older")).text
    third = browser.get(where + link(second, "Older")).text
    assert inspections(first + second + third) == [str(1000 + number) for number in reversed(range(120))]
    assert "Newer</a>" not in first and "Older</a>" not in third
    assert inspections(browser.get(where + link(third, "Newer")).text) == inspections(second)
    back = browser.get(where + link(second, "Newer"))
    assert (back.status_code, back["Location"]) == (302, where)


def test_what_arrives_while_somebody_reads_shifts_no_page(
    visit: Visit, alice: User, where: str, connection: Connection
) -> None:
    make_events(connection, 60)
    browser = visit(alice)
    first = browser.get(where).text
    make_events(connection, 5, received_at=LAST + timedelta(hours=1), inspection_id="77")

    assert inspections(browser.get(where + link(first, "Older")).text) == [str(n) for n in range(1009, 999, -1)]


def test_events_of_one_moment_are_paged_without_loss(
    visit: Visit, alice: User, acme: Customer, where: str, connection: Connection
) -> None:
    other = Connection.objects.create(customer=acme, state=State.CONNECTED, company_id="7001")
    for one in (connection, other):
        make_events(one, 60, received_at=LAST)
    browser = visit(alice)

    page = browser.get(where).text
    seen = re.findall(r'id="row-(\w+)"', page)
    while "Older</a>" in page:
        page = browser.get(where + link(page, "Older")).text
        seen += re.findall(r'id="row-(\w+)"', page)
    assert sorted(seen) == sorted(Event.objects.values_list("code", flat=True))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=1003", ["1003"]),
        ("q=+1003+", ["1003"]),
        ("state=failed", ["5001"]),
        ("type=Review_Signed", ["5002"]),
        ("type=Something_New", ["5003"]),
        ("since=2026-11-20&until=2026-11-20&type=Create_Inspection&state=done", ["1004", "1003", "1002", "1001"]),
        ("until=2026-11-19", ["1000"]),
        ("state=done&type=Review_Signed&q=5002", ["5002"]),
        ("state=failed&type=Review_Signed", []),
    ],
)
def test_each_filter_and_all_of_them_together(
    query: str, expected: list[str], visit: Visit, alice: User, where: str, connection: Connection
) -> None:
    made = make_events(connection, 5)
    Event.objects.filter(pk=made[0].pk).update(received_at=LAST - timedelta(hours=12, microseconds=1))
    make_events(connection, 1, state=Event.State.FAILED, inspection_id="5001", received_at=LAST - timedelta(days=40))
    for type_, inspection in (("Review_Signed", "5002"), ("Something_New", "5003")):
        make_events(connection, 1, type=type_, inspection_id=inspection)

    page = visit(alice).get(f"{where}?{query}").text
    found = inspections(page)
    if query == "until=2026-11-19":
        found.remove("5001")
    assert found == expected
    assert "Clear filter" in page
    assert ("No events match" in page) is (not expected)


def test_days_are_the_visitors_in_list_and_replay_and_the_page_names_their_zone_once(
    visit: Visit, alice: User, acme: Customer, where: str, connection: Connection
) -> None:
    make_events(connection, 1, received_at=datetime(2026, 11, 20, 18, tzinfo=UTC))  # the 21st in Auckland
    browser = visit(alice)
    assert inspections(browser.get(f"{where}?since=2026-11-20&until=2026-11-20").text) == ["1000"]

    browser.cookies["timezone"] = "Pacific/Auckland"
    page = browser.get(f"{where}?since=2026-11-21&until=2026-11-21").text
    assert inspections(page) == ["1000"]
    assert page.count("Pacific/Auckland") == 1
    assert inspections(browser.get(f"{where}?until=2026-11-20").text) == []
    browser.post(f"{where}replay/?since=2026-11-21")
    work()
    assert acme.replays.get().replayed == 1


def test_the_connection_is_a_filter_where_there_are_several(
    visit: Visit, alice: User, acme: Customer, where: str, connection: Connection
) -> None:
    browser = visit(alice)
    assert 'name="connection"' not in browser.get(where).text
    other = Connection.objects.create(customer=acme, state=State.CONNECTED, company_name="Harbour Lets")
    make_events(connection, 1)
    make_events(other, 1, inspection_id="2000")

    assert inspections(browser.get(where).text) == ["2000", "1000"]
    page = browser.get(f"{where}?connection={other.code}").text
    assert inspections(page) == ["2000"]
    assert "Harbour Lets</option>" in page


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("state=nothing", "“nothing” is not an event status."),
        ("connection=nobody", "No connection has this code."),
        ("since=yesterday", "Enter a date like 2026-11-24."),
        ("until=2026-13-40", "Enter a date like 2026-11-24."),
        ("since=2026-11-20&until=2026-11-19", "Check the dates: “To” is before “From”."),
        ("q=" + "9" * 21, "at most 20 characters"),
        ("q=%00", "Null characters are not allowed"),
        ("type=" + "x" * 101, "This is not an event type."),
        ("type=%00", "This is not an event type."),
    ],
)
def test_a_filter_that_makes_no_sense_is_said_to_and_shows_nothing(
    query: str, sentence: str, visit: Visit, alice: User, where: str, connection: Connection
) -> None:
    make_events(connection, 1)

    page = visit(alice).get(f"{where}?{query}")
    assert page.status_code == 200
    assert sentence in page.text
    assert inspections(page.text) == []
    assert "Clear filter" in page.text


@pytest.mark.parametrize(
    "query",
    ["before=x", "before=%00", "after=%00", "before=" + "9" * 5000, "state=done&state=failed", "until=9999-12-31",
     "since=0001-01-01", "connection='--", "after=b&before=c"],
)  # fmt: skip
def test_no_address_makes_an_error_page(
    query: str, visit: Visit, alice: User, where: str, connection: Connection
) -> None:
    make_events(connection, 1)
    assert visit(alice).get(f"{where}?{query}").status_code in {200, 302}


def test_the_filter_lists_no_connection_of_other_customers(
    visit: Visit, alice: User, charlie: User, where: str, connection: Connection
) -> None:
    his = Connection.objects.create(customer=charlie.customers.get(), company_name="Charlie's own")
    make_events(his, 1, inspection_id="9999")

    page = visit(alice).get(f"{where}?connection={his.code}").text
    assert "No connection has this code." in page
    assert "Charlie" not in page and "9999" not in page
    theirs = Event.objects.get(connection=his)
    assert visit(alice).get(f"{where}?before={theirs.code}").status_code == 302


def test_nothing_yet_says_what_will_appear_and_what_is_to_be_done_first(
    visit: Visit, alice: User, bob: User, acme: Customer, where: str
) -> None:
    unconnected = visit(alice).get(where).text
    assert "No events yet" in unconnected and "Connect your SnapInspect account first" in unconnected

    personal = Connection.objects.create(customer=acme, kind=Kind.PERSONAL, state=State.CONNECTED)
    address = f"/c/{acme.code}/connections/{personal.code}/webhook/"
    assert address in visit(alice).get(where).text
    assert address not in visit(bob).get(where).text

    Connection.objects.update(kind=Kind.CONNECT)
    assert "Upload an inspection in SnapInspect" in visit(alice).get(where).text


def test_the_open_page_is_sent_anew_only_when_something_has_changed(
    visit: Visit, alice: User, where: str, connection: Connection
) -> None:
    (event,) = make_events(connection, 1, state=Event.State.RECEIVED)
    browser = visit(alice)

    def asks(page: str) -> str:
        found = re.search(r'id="events"\s+data-live\s+hx-get="([^"]+)"', page)
        assert found
        return found[1].replace("&amp;", "&")

    again = asks(browser.get(f"{where}?q=1000").text)
    assert again.startswith(f"{where}?q=1000&seen=")
    assert browser.get(again, headers={"HX-Request": "true"}).status_code == 204
    Event.objects.filter(pk=event.pk).update(state=Event.State.RETRYING, attempts=1)
    part = browser.get(again, headers={"HX-Request": "true"})
    assert part.text.lstrip().startswith('<div id="events"')
    assert "<html" not in part.text
    assert "Attempt 1 of 8" in " ".join(part.text.split())
    assert asks(part.text) != again


def test_an_open_page_of_somebody_who_was_signed_out_is_loaded_anew(visit: Visit, alice: User, where: str) -> None:
    answer = Visitor().get(where, headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Refresh"]) == (204, "true")


def test_the_number_of_queries_grows_with_nothing(
    visit: Visit, alice: User, acme: Customer, where: str, connection: Connection
) -> None:
    browser = visit(alice)

    def asked() -> int:
        with CaptureQueriesContext(database) as queries:
            assert browser.get(where).status_code == 200
        return len(queries)

    second = Connection.objects.create(customer=acme, state=State.CONNECTED, company_id="2")
    for one in (connection, second):
        make_events(one, 1)
    few = asked()
    for number in range(3, 9):
        one = Connection.objects.create(customer=acme, state=State.CONNECTED, company_id=str(number))
        make_events(one, 30)
    assert asked() == few


FILL = """
INSERT INTO integrations_event (code, connection_id, state, type, inspection_id, review_id, company_id, body_sha256,
    received_at, attempts, next_attempt_at, last_error_kind, proof, content, content_sha256, recovered, replays)
SELECT 'e' || n, (%s::bigint[])[1 + (n * 7919::bigint) %% %s],
    CASE WHEN n %% 1000 = 1 THEN 'failed' WHEN n %% 5000 = 2 THEN 'ignored' WHEN n %% 3000 = 3 THEN 'retrying'
         WHEN n %% 9000 = 4 THEN 'received' ELSE 'done' END,
    CASE WHEN n %% 10000 = 5 THEN 'Seldom' WHEN n %% 3 = 0 THEN 'Review_Signed' ELSE 'Create_Inspection' END,
    (n / 3)::text, '', '', '', timestamptz '2026-11-20 12:00+00' - (%s - n) * interval '20 seconds',
    0, now(), '', 'verified', repeat('x', 300), '', false, 0
FROM generate_series(1, %s) AS n
"""


@pytest.fixture
def many_events(acme: Customer, connection: Connection, charlie: User) -> Iterator[int]:
    """Number of events created: a twelfth for one connection of Acme, as many again for its four others."""
    if database.vendor != "postgresql":
        pytest.skip("Plans are PostgreSQL's.")
    count = size(100_000, 1_000_000)
    others = Connection.objects.bulk_create(Connection(customer=acme, company_id=str(number)) for number in range(1, 5))
    strangers = Connection.objects.bulk_create(Connection(customer=charlie.customers.get()) for _ in range(39))
    drawn = [connection.pk] * 4 + [each.pk for each in others] + [each.pk for each in strangers]
    with database.cursor() as cursor:
        cursor.execute(FILL, [drawn, len(drawn), count, count])
        cursor.execute("ANALYZE integrations_event")
    yield count
    Event.objects.all()._raw_delete("default")


# A page of each of the five connections, to find how far back a page reaches, and the page itself.
MOST_READ = 6 * 51
STATES = ["", "state=failed", "state=done", "state=retrying", "state=received", "state=unmatched"]
TYPES = ["", "type=Review_Signed", "type=Seldom", "type=Unheard_of"]
DAYS = ["", "since=2026-11-19&until=2026-11-19", "until=2026-11-18"]
WHOSE = ["", "connection={code}"]
IDS = ["", "q=777"]


@pytest.mark.slow
def test_every_filter_reads_a_page_from_an_index_however_many_events_there_are(
    many_events: int, visit: Visit, alice: User, where: str, connection: Connection
) -> None:
    """A page of five connections may touch a page of each; a whole table, or all events of a customer, never."""
    browser = visit(alice)
    costs = {}
    for chosen in product(STATES, TYPES, DAYS, WHOSE, IDS):
        query = "&".join(part for part in chosen if part).format(code=connection.code)
        with CaptureQueriesContext(database) as asked:
            assert browser.get(f"{where}?{query}").status_code == 200
        costs[query] = rows_read(asked)

    dearest = max(costs, key=lambda query: costs[query])
    record(
        "D5",
        "every combination of filters over very many events",
        f"{len(costs)} filters, {many_events:,} events: at most {costs[dearest]} rows read for a page ({dearest})",
    )
    assert costs[dearest] <= MOST_READ


def test_older_pages_cost_what_the_first_one_costs(many_events: int, visit: Visit, alice: User, where: str) -> None:
    middle = Event.objects.filter(connection__customer__code=where.split("/")[2]).order_by("pk")[2000]
    browser = visit(alice)
    for query in (f"before={middle.code}", f"after={middle.code}", f"before={middle.code}&state=failed"):
        with CaptureQueriesContext(database) as asked:
            assert browser.get(f"{where}?{query}").status_code == 200
        assert rows_read(asked) <= MOST_READ, query

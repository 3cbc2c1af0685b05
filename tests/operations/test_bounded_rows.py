"""What people can do again and again, or leave undone for ever, does not pile up here."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEntry, Customer, User
from integrations import wording
from integrations.background import jobs
from integrations.connecting.completion import QUESTION_LIFETIME
from integrations.events import routing
from integrations.models import Attempt, Connection, ConnectionTest, Delivery, Event, EventQueue, NamedLock, TokenPair
from integrations.operations import retention, status
from integrations.tokens import keys
from integrations.views import connect as connect_view
from tests.support.clients import OTHER, Sandbox, Visitor, audited, callback, work
from tests.support.many_events import make_events
from tests.support.query_plans import tables_read_at_length

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def test_a_callback_url_used_by_others_is_audited_once_with_its_connection(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, charlie: User
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    address = sandbox.decide(browser.start_connect(acme, connection=connection))
    for _ in range(3):
        assert Visitor().open_callback(address)["Location"] == "/connect/ended/signed-out/"
    for _ in range(3):
        assert visit(charlie).open_callback(address)["Location"] == "/connect/ended/other-person/"
    for _ in range(3):
        assert browser.open_callback(address)["Location"] == f"/c/{acme.code}/"

    noted = AuditEntry.objects.filter(subject=connection.code)
    for kind in ("connect.signed-out", "connect.other-person", "connect.used"):
        assert noted.filter(kind=kind).count() == audited(kind) == 1


def test_unknown_states_are_audited_at_most_twenty_times_an_hour_per_user(visit: Visit, alice: User) -> None:
    browser = visit(alice)
    for number in range(connect_view.MOST_UNKNOWN_AN_HOUR + 5):
        assert browser.open_callback(callback(state=str(number)))["Location"] == "/connect/ended/unknown/"
    assert audited("connect.unknown") == connect_view.MOST_UNKNOWN_AN_HOUR

    AuditEntry.objects.update(at=Now() - timedelta(hours=1))
    browser.open_callback(callback(state="again"))
    assert audited("connect.unknown") == connect_view.MOST_UNKNOWN_AN_HOUR + 1


def test_an_undecided_company_is_deleted_after_seven_days(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection), account=OTHER))
    work()
    asking = TokenPair.objects.candidates().filter(asks=True)
    asking.update(received_at=Now() - QUESTION_LIFETIME + timedelta(minutes=5))
    work()
    assert asking.count() == 1

    asking.update(received_at=Now() - QUESTION_LIFETIME - timedelta(minutes=5))
    jobs.sweep()
    work()

    assert list(TokenPair.objects.values_list("connection", "role")) == [(connection.pk, "current")]
    entry = AuditEntry.objects.get(kind="connect.other_company_lapsed")
    assert (entry.subject, entry.actor) == (connection.code, None)
    assert "its access was deleted" in wording.activity(entry.kind)
    assert Connection.objects.get().badge.label == "Connected"


def test_of_an_overlong_answer_only_the_name_and_the_company_are_stored(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    path = f"/c/{acme.code}/connections/{connection.code}/test/"
    assert "Full response" in browser.post(path, follow=True).text

    long = '{"iUserID": 501, "sName": "Pat", "iCompanyID": 6847, "more": "%s"}' % ("x" * ConnectionTest.MOST_KEPT)
    sandbox.fault("/user", "status", status=200, body=long)
    page = browser.post(path, follow=True).text

    assert ConnectionTest.objects.latest("pk").answer is None
    assert "more than 64 KiB" in page
    assert "6847" in page


def test_a_session_cookie_with_a_nul_byte_is_no_session(acme: Customer) -> None:
    for odd in ('"\\000"', "a\u00e9", "x" * 41):
        answer = Visitor(HTTP_COOKIE=f"sessionid={odd}").get(f"/c/{acme.code}/")
        assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/accounts/login/")


def test_retention_reads_only_the_oldest_rows_of_a_table(acme: Customer) -> None:
    connection = Connection.objects.create(customer=acme)
    made = make_events(connection, 40)
    rule = next(rule for rule in retention.RULES if rule.what == "events")
    kept = rule.kept + timedelta(days=2)
    for number, event in enumerate(made):
        came = timezone.now() - kept if number < 25 else timezone.now()
        Event.objects.filter(pk=event.pk).update(received_at=came, finished_at=came)
    Event.objects.filter(pk=made[3].pk).update(finished_at=None)

    assert retention.due(rule) == 24
    with CaptureQueriesContext(database) as asked:
        assert list(retention.prune(rule, batch=10)) == [10, 10, 4]
    assert set(Event.objects.all()) == {made[3], *made[25:]}
    bound = [query["sql"] for query in asked.captured_queries if '"id" <' in query["sql"]]
    assert str(made[25].pk) in bound[0]


def test_one_encrypted_row_is_read_per_key(acme: Customer) -> None:
    connections = Connection.objects.bulk_create(Connection(customer=acme, company_id=str(n)) for n in range(30))
    TokenPair.objects.bulk_create(
        TokenPair(connection=each, sealed_access=b"x", sealed_refresh=b"y", key_id="bbbb" if each.pk % 2 else "aaaa")
        for each in connections
    )
    with CaptureQueriesContext(database) as asked:
        names = set(keys.missing())
    assert names == {"aaaa", "bbbb"}
    assert all("LIMIT 1" in query["sql"] for query in asked.captured_queries[:3])
    assert keys.rows_by_key(10) == {"aaaa": 10, "bbbb": 10}
    assert keys.rows_by_key() == {"aaaa": 15, "bbbb": 15}


@pytest.fixture
def many_rows() -> None:
    """More rows in each large table than a frequent query may read."""
    if database.vendor != "postgresql":
        pytest.skip("Plans are PostgreSQL's.")
    call_command("seed", customers=2_000, events=4_000)
    with database.cursor() as cursor:
        # Tests before this one have left dead rows: indexes larger than the tables would make it choose otherwise.
        cursor.execute("VACUUM (FULL, ANALYZE)")
    NamedLock.objects.lock("sweep")


# Run often by workers, load balancers and staff.
FREQUENT_QUERIES: dict[str, Callable[[], object]] = {
    "the sweep": jobs.sweep,
    "how much waits": jobs.due,
    "the operations page": status.read,
    "which keys are needed": keys.missing,
    "whose deliveries are": routing.route_batch,
    "what is old": lambda: [retention.due(rule) for rule in retention.RULES if rule.arrival],
}


def test_frequent_queries_read_few_rows_of_large_tables(many_rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("COUNT_LIMIT", "RECENT_ATTEMPTS"):
        monkeypatch.setattr(status, bound, 500)  # small beside the rows, as in production
    big = {model._meta.db_table for model in (Delivery, Event, Attempt, AuditEntry, Connection, TokenPair, EventQueue)}
    Delivery.objects.store((None, "", b'{"iInspectionID": 1, "iCompanyID": 10000001}'))
    for what, ask in FREQUENT_QUERIES.items():
        with CaptureQueriesContext(database) as asked:
            ask()
        for query in asked.captured_queries:
            assert not tables_read_at_length(query["sql"], beyond=1_000) & big, f"{what}: {query['sql']}"

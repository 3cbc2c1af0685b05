"""What makes it fast, counted and never timed: statements, connections, and what is asked of whom. See bench/."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import connection as database
from django.db.models import F
from django.db.models.signals import post_init
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import Customer, User
from bench import report
from bench.result import Result, at_least
from connectapp.sqlite3.base import DatabaseWrapper
from integrations.background import jobs
from integrations.calls import api_client, limits
from integrations.events import handlers, leased_queue, routing, webhook_addresses
from integrations.models import Connection, Event, Panel, State, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody, lease, renewal, storage
from tests.settings import SENTINEL
from tests.snapinspect.remotes import Remote, http
from tests.support.clients import Visitor
from tests.support.deliveries import path_of, payload, post

pytestmark = pytest.mark.django_db
Visit = Callable[[User], Visitor]


@pytest.fixture
def remote(settings: Settings) -> Iterator[Remote]:
    with closing(Remote(http({"iUserID": 501, "iCompanyID": 6847}))) as remote:
        settings.SNAPINSPECT_API_URL = remote.url
        yield remote


def connected(customer: Customer, company: str = "6847") -> Connection:
    connection = Connection.objects.create(customer=customer, company_id=company, state=State.CONNECTED)
    tokens = token_pair.TokenPair(f"{SENTINEL}-access-{company}", f"{SENTINEL}-refresh-{company}")
    columns = storage.columns(tokens, connection)
    TokenPair.objects.create(connection=connection, role=TokenPair.Role.CURRENT, **columns)
    return connection


def test_the_door_costs_one_statement_and_at_a_connections_own_address_one_more(acme: Customer) -> None:
    own = path_of(webhook_addresses.issue(connected(acme)))
    for secret, statements in (("", 1), (own, 2)):
        with CaptureQueriesContext(database) as asked:
            assert (post(payload(), secret) if secret else post(payload())).status_code == 200
        assert len(asked) == statements, [query["sql"] for query in asked]
        assert asked[-1]["sql"].startswith("INSERT INTO integrations_delivery")


def test_a_call_of_the_api_costs_one_statement_and_one_request(acme: Customer, remote: Remote) -> None:
    connection = connected(acme)
    with CaptureQueriesContext(database) as asked:
        api_client.get(connection, "user")
    assert len(asked) == 1, [query["sql"] for query in asked]
    assert len(remote.calls) == 1


def test_a_caller_that_waits_while_another_replaces_the_pair_looks_by_one_statement(
    acme: Customer, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred may wait, and look ten times a second each."""
    connection = connected(acme)
    pair = custody.current_pair(connection)
    assert pair is not None
    assert lease.claim_current(*pair) is not None
    looks = []

    def wait(seconds: float) -> None:
        looks.append(len(asked))
        if len(looks) == 3:
            TokenPair.objects.filter(pk=pair[0]).update(version=F("version") + 1)

    monkeypatch.setattr(renewal, "time", SimpleNamespace(sleep=wait, monotonic=time.monotonic))
    with CaptureQueriesContext(database) as asked:
        renewal.renew(connection, refused=pair)
    assert looks == [1, 2, 3], [query["sql"] for query in asked]
    assert remote.calls == []


@pytest.mark.django_db(transaction=True)
def test_threads_and_customers_call_over_one_kept_connection(acme: Customer, charlie: User, remote: Remote) -> None:
    mine, theirs = connected(acme), connected(charlie.customers.get(), "7001")

    def call() -> None:
        for connection in (mine, theirs, mine):
            api_client.get(connection, "user")
        database.close()

    for _ in range(3):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    assert len(remote.calls) == 9
    assert remote.connections == 1
    assert {call.headers["authorization"].rpartition("-")[2] for call in remote.calls} == {"6847", "7001"}


@pytest.mark.django_db(transaction=True)
def test_neither_the_door_nor_a_page_asks_snapinspect_anything(
    acme: Customer, alice: User, visit: Visit, remote: Remote
) -> None:
    connection = connected(acme)
    Panel.objects.create(title="Slow", path="slow", columns="ID: iInspectionID", is_active=True)
    browser = visit(alice)
    where = f"/c/{acme.code}/"
    assert post(payload()).status_code == 200
    for page in ("", "connections/", f"connections/{connection.code}/", "events/", "explorer/", "people/", "audit/"):
        assert browser.get(where + page).status_code == 200, page
    assert remote.calls == []


@pytest.mark.django_db(transaction=True)
def test_a_panel_that_waits_is_asked_for_again_soon_and_then_less_and_less_often(
    acme: Customer, alice: User, visit: Visit, remote: Remote
) -> None:
    connection = connected(acme)
    panel = Panel.objects.create(title="Taken", path="rows", columns="ID: iInspectionID", is_active=True)
    browser = visit(alice)
    where = f"/c/{acme.code}/connections/{connection.code}/panels/{panel.code}/"
    with ExitStack() as taken:
        for _ in range(limits.MAX_CALLS_PER_CONNECTION):
            taken.enter_context(limits.slot(connection.code))
        waits = []
        for asked in ("", "?retries=1", "?retries=2", "?retries=9", "?retries=99999999", "?retries=-1", "?retries=²"):
            part = browser.get(where + asked, headers={"HX-Request": "true"}).text
            waits.append(int(part.partition("load delay:")[2].partition("ms")[0]))
    assert waits == [250, 500, 1000, 4000, 250, 250, 250]
    assert remote.calls == []


@pytest.mark.django_db(transaction=True)
def test_many_deliveries_are_placed_and_finished_by_as_many_statements_as_few(
    acme: Customer, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.SNAPINSPECT_INSPECTION_PATH = ""
    monkeypatch.setattr(leased_queue, "WRITE_AFTER", 60)  # a busy machine would write in between
    monkeypatch.setattr(handlers, "registry", {})  # other tests' handlers ask once for each event
    connected(acme)
    counted = []
    for inspections in (range(1000, 1010), range(2000, 2100)):
        for inspection in inspections:
            assert post(payload(inspection=inspection)).status_code == 200
        with CaptureQueriesContext(database) as asked:
            jobs.work_off(jobs.INBOX)
        counted.append(len(asked))
    assert Event.objects.filter(state=Event.State.DONE).count() == 110
    # Not per delivery; on SQLite rows are written one by one within a statement that is sent once.
    assert counted[1] <= counted[0] + 10, counted


@pytest.mark.django_db(transaction=True)
def test_a_delivery_is_compared_with_what_says_the_same_and_with_nothing_else_of_its_inspection(
    acme: Customer, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """What was read for it once grew with all that waited, within the transaction that keeps the door waiting."""
    settings.SNAPINSPECT_INSPECTION_PATH = ""
    connected(acme)
    for number in range(30):
        assert post(payload(f"Type_{number}")).status_code == 200
    jobs.work_off(jobs.INBOX)
    loaded: list[str] = []
    post_init.connect(note := lambda instance, **_: loaded.append(instance.type), sender=Event)
    try:
        assert post(payload("Type_7")).status_code == 200
        routing.route_batch()
    finally:
        post_init.disconnect(note, sender=Event)
    assert loaded == ["Type_7"]


@pytest.mark.once
def test_a_kept_connection_to_sqlite_is_given_up_when_its_file_is_another_one(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite3"
    kept = DatabaseWrapper({**database.settings_dict, "NAME": str(file), "OPTIONS": {}, "CONN_HEALTH_CHECKS": True})
    try:
        with kept.cursor() as cursor:
            cursor.execute("CREATE TABLE told (word text)")
        raw = kept.connection
        kept.close_if_unusable_or_obsolete()
        with kept.cursor() as cursor:
            cursor.execute("INSERT INTO told VALUES ('kept')")
        assert kept.connection is raw

        Path(shutil.copy(file, tmp_path / "restored")).replace(file)
        kept.close_if_unusable_or_obsolete()
        with kept.cursor() as cursor:
            cursor.execute("INSERT INTO told VALUES ('after')")
        assert kept.connection is not raw

        file.rename(tmp_path / "away")
        kept.close_if_unusable_or_obsolete()
        with kept.cursor() as cursor, pytest.raises(kept.Database.OperationalError):
            cursor.connection.execute("INSERT INTO told VALUES ('lost')")
    finally:
        kept.close()


def test_connections_are_kept_on_every_database() -> None:
    assert database.settings_dict["CONN_MAX_AGE"] > 0
    assert database.settings_dict["CONN_HEALTH_CHECKS"]


@pytest.mark.once
def test_the_page_keeps_what_is_written_by_hand_and_the_last_two_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "FIGURES", tmp_path / "performance.json")
    page.write_text(f"# By hand\n{report.BEGIN}old\n{report.END}\n## Why\n")
    result = Result("A webhook", "10/s", "9/s", {"ratio": 0.9}, [at_least("ratio", 0.95)])
    for date in ("first", "second", "third"):
        run = {
            "date": date,
            "commit": "0",
            "minutes": 1,
            "load": 0.1,
            "software": "",
            "machine": "",
            "results": [result.as_json()],
        }
        report.store(run)
    text = page.read_text()
    assert text.startswith("# By hand\n") and text.endswith("## Why\n")
    assert [word in text for word in ("old", "first", "second", "third")] == [False, False, True, True]
    assert "| A webhook | 10/s | 9/s | 0.90 |  | ratio ≥ 0.95 | **missed** |" in text


@pytest.mark.once
def test_every_target_that_was_missed_lately_has_a_section_that_says_why() -> None:
    results = [Result.from_json(result) for run in report.stored_runs() for result in run["results"]]
    reasons = report.PAGE.read_text().partition("## Targets that are missed")[2]
    missed = {result.path.partition(",")[0] for result in results if result.missed}
    assert {path for path in missed if f"### {path}" not in reasons} == set()

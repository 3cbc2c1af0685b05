"""Row O12 of the score card: each fault sets off its own alarm and no other, and a healthy day none.

The shipped rules are evaluated over real scrapes of real rows; only the time is made up: between two scrapes everything
that was written down moves that much further back, and the workers do what is due.
"""

import random
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests
import yaml
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Customer, User
from connectapp import health as readiness
from integrations.calls import health_check
from integrations.models import (
    Connection,
    Delivery,
    Event,
    EventQueue,
    ExchangeStatus,
    State,
    TokenPair,
    WebhookEndpoint,
)
from integrations.operations import status
from integrations.outgoing import endpoints
from integrations.snapinspect import client
from integrations.tokens import proof
from tests.conftest import AppFactory
from tests.operations.test_metrics import BEARER, TOKEN
from tests.support import troubled_connections
from tests.support.clients import Sandbox, send_mail_through
from tests.support.deliveries import NEW, payload, post
from tests.support.http_visitor import Visitor
from tests.support.measurements import record
from tests.support.monitored_app import SCRAPES_APART, MonitoredApp, older_tables, refused_writes
from tests.support.postgres import free_port
from tests.support.prometheus import RULES, Prometheus, names, rules, samples, seconds
from tests.support.running_app import ROOT, without_database
from tests.support.sizes import size
from tests.support.wait import wait_until
from tests.tokens.test_keys import OTHER_KEY

IN_TIME = 120.0
ALERTS = [rule for rule in rules() if "alert" in rule]


@pytest.fixture
def monitored(
    sandbox: Sandbox,
    alice: User,
    acme: Customer,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[MonitoredApp]:
    settings.METRICS_TOKEN, settings.METRICS_DIR = TOKEN, tmp_path / "metrics"
    # Waiting that has no part in this: what goes by is made up.
    monkeypatch.setattr(proof, "PAUSE_BEFORE_BELIEVING_401", 0.0)
    monkeypatch.setattr(client, "_SHORTEST_PAUSE", 0.0)
    monkeypatch.setattr(readiness, "TEST_WRITE_EVERY", -1.0)
    monitored = MonitoredApp(sandbox, troubled_connections.connect(sandbox, acme, alice, 4), settings)
    for _ in range(2):
        assert monitored.pass_time(SCRAPES_APART) == set()
    yield monitored
    monitored.end()


Fault = Callable[[MonitoredApp], None]
FAULTS: dict[str, Fault] = {}


def sets_off(alarm: str) -> Callable[[Fault], Fault]:
    def kept(fault: Fault) -> Fault:
        FAULTS[alarm] = fault
        return fault

    return kept


@sets_off("ConnectDiskFull")
def the_database_has_no_room(monitored: MonitoredApp) -> None:
    monitored.during(refused_writes("integrations_namedlock", "room", "length(room) < 1000"))


@sets_off("ConnectMigrationsMissing")
def the_code_is_newer_than_the_tables(monitored: MonitoredApp) -> None:
    monitored.during(older_tables())


@sets_off("ConnectKeyMissing")
def a_key_is_not_configured(monitored: MonitoredApp) -> None:
    monitored.settings.TOKEN_ENCRYPTION_KEYS = (OTHER_KEY,)
    for connection in monitored.connections[:3]:
        assert health_check.check(connection).error_kind == "cannot_unseal"


@sets_off("ConnectNoWorker")
def no_worker_runs(monitored: MonitoredApp) -> None:
    monitored.sweeps = monitored.works = False


@sets_off("ConnectQueueLate")
def workers_hang(monitored: MonitoredApp) -> None:
    monitored.works = False


@sets_off("ConnectDoorFails")
def deliveries_are_not_taken(monitored: MonitoredApp) -> None:
    monitored.during(refused_writes("integrations_delivery", "state", "state <> 'received'"))


@sets_off("ConnectExchangesLimited")
def snapinspect_refuses_many(monitored: MonitoredApp) -> None:
    ExchangeStatus.objects.update_or_create(pk=1, defaults={"limited_since": timezone.now()})
    later = timezone.now() + timedelta(hours=1)
    Connection.objects.update(state=State.TROUBLE, error_kind="many_refused", refused_at=Now(), next_check_at=later)


@sets_off("ConnectApiDown")
def the_api_answers_500(monitored: MonitoredApp) -> None:
    monitored.sandbox.fault("/inspections", "status", status=500, times=None)
    monitored.sandbox.fault("/user", "status", status=500, times=None)
    for connection in monitored.connections:
        assert health_check.check(connection).error_kind == "server_error"


@sets_off("ConnectManyInTrouble")
def the_api_answers_something_else(monitored: MonitoredApp) -> None:
    monitored.sandbox.fault("/user", "status", status=200, body="[]", times=None)
    for connection in monitored.connections[:3]:
        assert health_check.check(connection).error_kind == "no_account"


@sets_off("ConnectSetupProblem")
def the_client_secret_is_refused(monitored: MonitoredApp) -> None:
    """Somebody connects, and the first exchange fails."""
    monitored.settings.SNAPINSPECT_CLIENT_SECRET = "outdated"
    of = monitored.connections[0]
    assert of.connected_by is not None
    (connection,) = troubled_connections.connect(monitored.sandbox, of.customer, of.connected_by, 1)
    assert connection.badge == State.SETUP_PROBLEM


@sets_off("ConnectExchangeUnanswered")
def an_exchange_has_no_known_end(monitored: MonitoredApp) -> None:
    """SnapInspect has cut it off and asked us not to call for a quarter of an hour."""
    pair = TokenPair.objects.current().filter(connection=monitored.connections[0])
    pair.update(exchange_sent_at=Now(), exchange_sends=1, next_try_at=timezone.now() + timedelta(minutes=15))


@sets_off("ConnectEventsFail")
def events_are_given_up(monitored: MonitoredApp) -> None:
    """The worker that tried them died of each of them, eight times."""
    poisoned = monitored.connections[0]
    for _ in range(5):
        Event.objects.create(
            connection=poisoned, received_at=timezone.now(), state=Event.State.PROCESSING, attempts=Event.MOST_ATTEMPTS
        )
    EventQueue.objects.wake([poisoned.pk])


@sets_off("ConnectWebhooksFail")
def an_endpoint_of_the_operator_gets_nothing(monitored: MonitoredApp) -> None:
    endpoints.create(url="https://hooks.example/", types=["*"], customer=None, by=None)
    endpoints.create(url="https://hooks.example/", types=["*"], customer=Customer.objects.get(), by=None)
    WebhookEndpoint.objects.update(failing_since=timezone.now() - WebhookEndpoint.FAILING_AFTER)


@sets_off("ConnectParkedPile")
def deliveries_of_nobody_pile_up(monitored: MonitoredApp) -> None:
    nobodys = {"body": b"{}", "state": Delivery.State.UNMATCHED}
    # Of many companies: of one, fewer are kept.
    Delivery.objects.bulk_create(
        [Delivery(**nobodys, company_id=str(number % 20 + 1)) for number in range(5001)], batch_size=500
    )


@sets_off("ConnectMailStuck")
def the_mail_server_is_away(monitored: MonitoredApp) -> None:
    send_mail_through(monitored.settings, f"smtp://127.0.0.1:{free_port()}")
    monitored.connections[0].move_to(State.NEEDS_RECONNECT, error_kind="token_refused")


IN_PROCESSES = {"ConnectDown", "ConnectDatabaseGone"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("alarm", FAULTS)
@pytest.mark.slow
def test_O12_a_fault_sets_off_its_own_alarm_within_two_minutes_and_no_other(
    monitored: MonitoredApp, alarm: str
) -> None:
    FAULTS[alarm](monitored)
    took, seen = 0.0, set()
    for step in range(1, int(IN_TIME / SCRAPES_APART) + 1):
        seen |= monitored.pass_time(SCRAPES_APART)
        took = took or (step * SCRAPES_APART if seen else 0.0)
        if took and step * SCRAPES_APART > took + size(30, 120):
            break

    record("O12", FAULTS[alarm].__name__.replace("_", " "), describe(seen, took))
    assert seen == {alarm}


def describe(alarms: set[str], seconds_after: float = 0.0) -> str:
    return f"{', '.join(sorted(alarms))} after {seconds_after:.0f} s" if alarms else "no alarm"


def _healthy_minute(monitored: MonitoredApp, minute: int) -> None:
    """Does one of the things that happen on a healthy day."""
    connection = monitored.connections[minute % 4]
    happenings: list[Callable[[], object]] = [
        lambda: monitored.sandbox.fault("/inspections", "status", status=500, times=2),
        lambda: post(payload("Create_Inspection", 77, iCompanyID=999_999)),  # of a company that nobody has connected
        lambda: post(b"not JSON"),
        lambda: post(b"{}", "guessed-by-somebody-else"),
        lambda: Connection.objects.filter(pk=connection.pk).check_soon(),
        lambda: connection.move_to(State.NEEDS_RECONNECT, error_kind="token_refused"),
        lambda: connection.move_to(State.CONNECTED),
        lambda: health_check.check(connection),
        lambda: Event.objects.create(
            connection=connection, received_at=timezone.now(), state=Event.State.PROCESSING, attempts=8
        ),
        lambda: EventQueue.objects.wake([connection.pk]),
        lambda: troubled_connections.refuse(
            monitored.sandbox
        ),  # every access token ends: one exchange each, when it is next used
        lambda: monitored.deliver(connection),
    ]
    happenings[minute % len(happenings)]()


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_O12_a_healthy_day_sets_off_nothing(monitored: MonitoredApp) -> None:
    minutes, apart = size(15, 24 * 60), size(30, 15)
    scrapes, fired, chance = 0, set(), random.Random(12)
    for minute in range(minutes):
        _healthy_minute(monitored, minute)
        for second in range(0, 60, apart):
            monitored.sweeps = minute % 60 != 7 or second >= 30  # a worker is started anew
            monitored.busy = chance.randrange(size(3, 20)) == 0
            fired |= monitored.pass_time(apart)
            scrapes += 1

    spell = f"{minutes // 60} h {minutes % 60} min, {scrapes} scrapes"
    record("O12", "a healthy day, time made up", f"{spell}: {describe(fired)}")
    assert fired == set()
    assert samples(monitored.scrape())["connect_exchanges_total", frozenset({("outcome", "ok")})] >= 4


@pytest.mark.processes
@pytest.mark.django_db
@pytest.mark.slow
def test_O12_processes_that_die_and_a_database_that_goes_set_off_theirs_and_all_that_was_done_is_counted(
    new_app: AppFactory,
) -> None:
    running_app = new_app(METRICS_TOKEN=TOKEN)
    running_app.environment["METRICS_DIR"] = str(running_app.folder / "metrics")
    running_app.start_sandbox()
    web, worker = running_app.start_web(), running_app.start_worker()
    prometheus = Prometheus()

    def scrape() -> str | None:
        try:
            answer = requests.get(f"{running_app.url}metrics", headers=BEARER, timeout=30)
        except requests.ConnectionError:
            return None
        assert answer.status_code == 200
        return answer.text

    def watch() -> tuple[set[str], float]:
        """What fires within two minutes, and after how many seconds; a minute of ours is four scrapes."""
        seen, took = set(), 0.0
        for step in range(1, int(IN_TIME / SCRAPES_APART) + 1):
            seen |= prometheus.step(scrape(), after=SCRAPES_APART)
            took = took or (step * SCRAPES_APART if seen else 0.0)
        return seen, took

    def counted(name: str, **labels: str) -> float:
        return samples(scrape() or "")[f"connect_{name}", frozenset(labels.items())]

    Visitor(running_app).sign_up().connect()
    for number in range(20):
        assert requests.post(
            f"{running_app.url}webhooks/snapinspect/{NEW}/", json=payload(f"O12_{number}"), timeout=30
        ).ok  # fmt: skip
    done = {"state": "done"}
    wait_until(lambda: counted("event_tries_total", **done) + counted("event_tries_total", state="joined") >= 20)
    # Whichever of the web processes is asked, it tells of all: the exchange was a worker's, the answers were the web's.
    sums = {(counted("exchanges_total", outcome="ok"), counted("door_answers_total", status="200")) for _ in range(6)}
    assert sums == {(1, 20)}
    wait_until(lambda: counted("workers") == 1)  # its first sweep
    assert watch() == (set(), 0.0)

    with without_database(running_app):
        gone = watch()
    assert watch()[0] == set()
    running_app.kill(worker)
    running_app.kill(web)
    down = watch()
    running_app.start_web()
    running_app.start_worker()
    wait_until(lambda: counted("workers") >= 1)

    assert (counted("exchanges_total", outcome="ok"), counted("door_answers_total", status="200")) == (1, 20)
    files = len(list((running_app.folder / "metrics").glob("*.db")))
    record("O12", "the database is gone", describe(*gone))
    record("O12", "kill -9 of web and worker", describe(*down))
    assert (gone[0], down[0]) == ({"ConnectDatabaseGone"}, {"ConnectDown"})
    assert files <= 2 * 3, "two web processes and a worker, killed and started anew"


RUNBOOK = ROOT / "docs" / "runbook.md"
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL))


@pytest.mark.once
def test_every_alarm_has_a_section_that_says_what_to_do_and_every_section_an_alarm_and_a_fault() -> None:
    alarms = [alert["alert"] for alert in ALERTS]
    assert sorted(alarms) == sorted(SECTIONS) == sorted({*FAULTS, *IN_PROCESSES})
    for alert in ALERTS:
        assert set(alert) <= {"alert", "expr", "for", "labels", "annotations"}
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
        assert alert["annotations"]["summary"].endswith(".")
        parts = re.findall(r"^\*\*(.+?)\.\*\*", SECTIONS[alert["alert"]], re.MULTILINE)
        assert parts == ["What it means", "What people notice", "Look at", "Do", "Over when"], alert["alert"]


@pytest.mark.once
def test_the_rules_are_asked_for_by_the_guide_under_the_job_that_they_name() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    configuration = yaml.safe_load(shown)
    assert [Path(path).relative_to("/srv/connect") for path in configuration["rule_files"]] == [RULES.relative_to(ROOT)]
    (job,) = configuration["scrape_configs"]
    assert f'job="{job["job_name"]}"' in RULES.read_text()
    assert seconds(job["scrape_interval"]) == SCRAPES_APART


@pytest.mark.django_db(transaction=True)
def test_every_metric_of_a_rule_is_in_a_scrape_and_every_signal_of_the_operations_page_in_the_runbook(
    monitored: MonitoredApp,
) -> None:
    scraped = monitored.scrape()
    known = {name for name, _ in samples(scraped)} | {"up"}
    known |= {rule["record"] for rule in rules() if "record" in rule}
    assert {name for rule in rules() for name in names(rule["expr"])} - known == set()
    text = RUNBOOK.read_text()
    assert [signal.name for signal in status.read().signals if f"*{signal.name}*" not in text] == []
    # And none that the runbook asks to look at is made up.
    known |= set(re.findall(r"^# TYPE (\w+)", scraped, re.MULTILINE))
    assert set(re.findall(r"`(connect_\w+)", text)) - known == set()

"""The OpenMetrics address: who may read it, what it tells, and what is counted by processes that come and go."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.metrics import counters
from integrations.models import Connection, State
from tests.commands.production import ENVIRONMENT
from tests.settings import SENTINEL
from tests.support import prometheus
from tests.support.clients import Sandbox, Visitor
from tests.support.deliveries import deliver, payload, post
from tests.support.running_app import ROOT

TOKEN = f"{SENTINEL}-metrics"
BEARER = {"authorization": f"Bearer {TOKEN}"}
Visit = Callable[[User], Visitor]


@pytest.fixture
def switched_on(settings: Settings, tmp_path: Path) -> Path:
    """The folder that this process counts in."""
    settings.METRICS_TOKEN = TOKEN
    settings.METRICS_DIR = tmp_path / "metrics"
    return tmp_path / "metrics"


def told(client: Client | None = None) -> dict[str, float]:
    """What a scrape says: `name{label="word"}` and the number."""
    answer = (client or Client()).get("/metrics", headers=BEARER)
    assert answer.status_code == 200
    return {
        name + "".join(f'{{{label}="{word}"}}' for label, word in labels): value
        for (name, labels), value in prometheus.samples(answer.text).items()
    }


def test_without_a_token_in_the_settings_there_is_no_such_address(stranger: Client, settings: Settings) -> None:
    settings.METRICS_TOKEN = ""
    assert stranger.get("/metrics", headers={"authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize("given", ["", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"])
def test_nobody_reads_it_with_another_token_and_no_log_repeats_one(
    stranger: Client, switched_on: Path, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = stranger.get("/metrics", headers={"authorization": given} if given else {})
    assert (answer.status_code, answer["WWW-Authenticate"], answer.content) == (401, "Bearer", b"")
    assert SENTINEL not in caplog.text


@pytest.mark.django_db
def test_a_scraper_asks_by_address_and_over_plain_http_and_leaves_no_line(
    stranger: Client, switched_on: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ALLOWED_HOSTS = ["app.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    with caplog.at_level(logging.INFO):
        answer = stranger.get("/metrics", headers={**BEARER, "host": "10.0.0.7:8000"})

    assert (answer.status_code, caplog.text) == (200, "")
    assert answer["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_it_tells_what_stands_in_rows_and_what_was_done_and_names_nobody(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, switched_on: Path
) -> None:
    before = told()
    assert before['connect_exchanges_total{outcome="ok"}'] == before['connect_door_answers_total{status="503"}'] == 0
    connection = visit(alice).connect(acme, sandbox)
    deliver(payload(), payload("Delete_Inspection", 99))
    assert post(b"{}", "not-the-secret-of-anybody").status_code == 404
    Connection.objects.create(customer=acme, state=State.TROUBLE, error_kind="timeout")
    calls = len(sandbox.calls("/user")) + len(sandbox.calls("/inspections"))

    after = told()

    for words, number in {
        'connect_ready{part="database"}': 1,
        'connect_connections{state="connected"}': 1,
        'connect_connections{state="trouble"}': 1,
        'connect_connection_troubles{kind="timeout"}': 1,
        'connect_deliveries{state="received"}': 0,
        'connect_door_answers_total{status="200"}': 2,
        'connect_door_answers_total{status="404"}': 1,
        'connect_event_tries_total{state="done"}': 1,
        'connect_exchanges_total{outcome="ok"}': 1,
        "connect_api_seconds_count": calls,
        "connect_workers": 0,
        "connect_keys_missing": 0,
    }.items():
        assert after[words] == number, words
    assert sum(number for words, number in after.items() if words.startswith("connect_api_calls_total")) == calls
    text = Client().get("/metrics", headers=BEARER).text
    secrets = (SENTINEL, acme.code, connection.code, connection.company_id, "Acme", "Harbour", "alice", "/user")
    assert [words for words in secrets if words in text] == []


def test_it_does_without_the_extra_and_the_system_check_says_so() -> None:
    script = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from django.test import Client\n"
        f"print(Client().get('/metrics', headers={{'authorization': 'Bearer {TOKEN}'}}).status_code)\n"
        "call_command('check')"
    )
    environment = {
        "PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "connectapp.settings", **ENVIRONMENT,
        "METRICS_TOKEN": TOKEN,
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("404\n")
    assert "integrations.W005" in ran.stderr
    assert "Install the extra" in ran.stderr


COUNT = """
import sys
from pathlib import Path
from django.conf import settings
settings.configure(METRICS_TOKEN="x", METRICS_DIR=Path(sys.argv[1]))
from integrations.metrics import counters
for _ in range(5):
    counters.count_exchange("timeout")
    counters.count_api_call("ok", 0.3)
print("counted", flush=True)
sys.stdin.read()
"""


def counting(folder: Path) -> subprocess.Popen[str]:
    """A process that has counted five of each, and lives on."""
    process = subprocess.Popen(
        [sys.executable, "-c", COUNT, folder], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


@pytest.mark.django_db
def test_what_killed_processes_have_counted_stays_and_their_files_are_used_again(switched_on: Path) -> None:
    told()
    sums = []
    for _ in range(3):
        both = [counting(switched_on), counting(switched_on)]
        for process in both:
            process.kill()
            process.communicate()
            seen = told()
            sums.append((seen['connect_exchanges_total{outcome="timeout"}'], seen["connect_api_seconds_count"]))
        assert seen['connect_api_seconds_bucket{le="0.25"}'] == 0
        assert seen['connect_api_seconds_bucket{le="0.5"}'] == seen["connect_api_seconds_count"]

    assert sums == [(10, 10), (10, 10), (20, 20), (20, 20), (30, 30), (30, 30)]
    # Ours, and those of the two that lived at a time.
    assert len(list(switched_on.glob("*.db"))) == 2 * 3


@pytest.mark.django_db
def test_a_file_that_a_power_loss_has_spoilt_is_left_out_and_begun_anew(switched_on: Path) -> None:
    told()
    process = counting(switched_on)
    process.kill()
    process.communicate()
    spoilt = switched_on / "counter_1.db"
    size = spoilt.stat().st_size
    for rubbish in (b"\xff\xfe", b"\x10\x00", b"\x7f\x20"):
        spoilt.write_bytes(rubbish * (size // 2))
        assert told()['connect_exchanges_total{outcome="timeout"}'] == 0

    process = counting(switched_on)
    process.kill()
    process.communicate()
    assert told()['connect_exchanges_total{outcome="timeout"}'] == 5
    assert spoilt.stat().st_blocks * 512 >= size, "a file with holes kills who writes to it on a full disk"


@pytest.mark.django_db
def test_what_cannot_be_counted_is_said_once_and_stops_nothing(
    switched_on: Path, caplog: pytest.LogCaptureFixture
) -> None:
    switched_on.write_text("a file, where a folder should be")
    for _ in range(3):
        counters.count_exchange("ok")
        counters.count_api_call("ok", 0.1)

    seen = told()
    assert seen["connect_workers"] == 0
    assert "connect_exchanges_total" not in str(seen)
    assert len(caplog.records) == 1
    assert "METRICS_DIR" in caplog.text

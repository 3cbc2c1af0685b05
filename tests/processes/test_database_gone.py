"""Row O1 of the score card: PostgreSQL is gone without a word, again and again, and comes back.

On a durable PostgreSQL of its own whatever the suite runs on, so once is enough.
"""

import signal
import time
from pathlib import Path

import pytest
import requests

from tests.support import postgres, secret_scan
from tests.support.measurements import record
from tests.support.running_app import RunningApp
from tests.support.sizes import size
from tests.support.wait import wait_until
from tests.support.webhook_load import SETTINGS, ConnectedApp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.processes,
    pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL is missing (apt-get install postgresql)"),
]
# What was acknowledged has to outlive the server: the suite's own is fast and forgetful.
DURABLE = ("-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on")
STOPS, PER_SECOND = size(2, 20), size(5, 10)
BACK_WITHIN = size(40, 30)  # seconds: before the lease of what was being done, 45 s, is over
DONE = "SELECT count(*) FROM integrations_event WHERE state = 'done'"
HELD = "SELECT count(*) FROM integrations_eventqueue WHERE lease_until IS NOT NULL"


def test_O1_when_postgresql_has_crashed_the_same_workers_work_on_by_themselves(tmp_path: Path) -> None:
    with (
        postgres.running(*DURABLE) as database,
        # Under the product's own lease, which is longer than what is allowed here.
        RunningApp(tmp_path, database.url, EVENT_HANDLERS=SETTINGS["EVENT_HANDLERS"]).prepare() as running_app,
    ):
        connected_app = ConnectedApp(running_app)
        began, sender, down, back = list(running_app.processes), connected_app.sender(), set(), []
        with sender.steadily("O1", PER_SECOND):
            for _ in range(STOPS):
                until_one_more_is_done(running_app)
                database.stop(signal.SIGQUIT)
                down.add((health(running_app, "ready"), health(running_app, "live")))
                database.start()
                returned = time.monotonic()
                until_one_more_is_done(running_app)
                back.append(time.monotonic() - returned)
        found = connected_app.wait_until_done("O1", len(sender.acknowledged), seconds=900)
        alive = [process for process in began if process.poll() is None]
        wait_until(lambda: running_app.rows(HELD) == [(0,)])
        log = running_app.log("worker")

    record(
        "O1",
        "PostgreSQL stops at once while deliveries come in, and is started again",
        f"{STOPS} times: readiness and liveness {sorted(down)}, {found.done} of {len(sender.acknowledged)} acked "
        f"done with at most {found.most_effects} effect each, the same workers at work again at most {max(back):.1f} s "
        f"after each return, 0 queues held",
    )
    assert down == {(503, 200)}
    assert max(back) <= BACK_WITHIN
    assert alive == began
    assert "Exception in thread" not in log
    assert found.stored == sender.acknowledged
    assert found.most_effects == 1
    assert secret_scan.leaks([tmp_path]) == []


def health(running_app: RunningApp, question: str) -> int:
    return requests.get(f"{running_app.url}health/{question}", timeout=30).status_code


def until_one_more_is_done(running_app: RunningApp) -> None:
    before = running_app.rows(DONE)
    wait_until(lambda: running_app.rows(DONE) != before, every=0.1)

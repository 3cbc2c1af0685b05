"""Row L5: PostgreSQL is frozen, not down: it accepts what is sent and says nothing. Nobody waits longer than 5 s.

On a PostgreSQL of its own whatever the suite runs on, so once is enough.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from connectapp.postgresql import REFUSE_AFTER_SILENCE
from tests.support import postgres
from tests.support.deliveries import NEW, payload
from tests.support.measurements import record
from tests.support.running_app import RunningApp
from tests.support.sizes import size

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.processes,
    pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL is missing (apt-get install postgresql)"),
]
# Without a limit there is no answer as long as the database is frozen.
AT_ONCE, MOST_SECONDS = 24, size(30.0, 5.0)
# A process opens no connection for REFUSE_AFTER_SILENCE.
MOST_SECONDS_UNTIL_WELL = REFUSE_AFTER_SILENCE + size(30.0, 3.0)
ROUNDS = size(1, 10)


@contextmanager
def frozen(server: postgres.Server) -> Iterator[None]:
    """No process of the server runs meanwhile; the kernel goes on accepting connections for it."""
    pids = [server.pid, *_children(server.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found


def timed(ask: "requests.Session", method: str, url: str, **options: object) -> tuple[int, float]:
    started = time.monotonic()
    status = ask.request(method, url, timeout=90, **options).status_code  # type: ignore[arg-type]
    return status, time.monotonic() - started


def seconds_until(well: Callable[[], bool]) -> float:
    """Seconds from now until it is so, and stays so for as long as a process refuses to open connections."""
    begun = well_since = time.monotonic()
    while time.monotonic() < well_since + REFUSE_AFTER_SILENCE:
        if not well():
            well_since = time.monotonic()
        assert well_since < begun + MOST_SECONDS_UNTIL_WELL
        threading.Event().wait(0.1)
    return well_since - begun


def test_L5_a_frozen_database_is_answered_503_in_time_and_the_process_lives(tmp_path: Path) -> None:
    with postgres.running() as database, RunningApp(tmp_path, database.url) as running_app:
        running_app.prepare().start_web()
        door = f"{running_app.url}webhooks/snapinspect/{NEW}/"

        def deliver(number: int) -> tuple[int, float]:
            with requests.Session() as session:
                return timed(session, "POST", door, json=payload(f"Frozen_{number}"))

        every = range(AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as pool, requests.Session() as prober:
            assert {status for status, _ in pool.map(deliver, every)} == {200}
            refused, lives, until_well = [], [], []
            for _ in range(ROUNDS):
                with frozen(database):
                    answers = pool.map(deliver, every)
                    threading.Event().wait(0.2)
                    lives += [timed(prober, "GET", f"{running_app.url}health/live") for _ in range(3)]
                    refused += list(answers)
                    ready = timed(prober, "GET", f"{running_app.url}health/ready")
                    page = timed(prober, "GET", f"{running_app.url}accounts/login/")
                until_well.append(seconds_until(lambda: {status for status, _ in pool.map(deliver, every)} == {200}))
                assert timed(prober, "GET", f"{running_app.url}health/ready")[0] == 200

    slowest = max(seconds for _, seconds in refused)
    slowest_life = max(seconds for _, seconds in lives)
    record(
        "L5",
        f"PostgreSQL frozen {ROUNDS} times, {AT_ONCE} deliveries at once",
        f"{len(refused)} times 503 within {slowest:.1f} s, /health/live within {slowest_life:.1f} s; "
        f"all are accepted again {max(until_well):.1f} s after it goes on",
        database="postgresql",
    )
    assert {status for status, _ in refused} == {503}
    assert slowest <= MOST_SECONDS + 1, "the generous limit of a shared machine; the figure is above"
    assert {status for status, _ in lives} == {200}
    assert slowest_life <= MOST_SECONDS
    assert ready[0] == 503 and ready[1] <= 2 * MOST_SECONDS
    assert page[0] in {200, 503} and page[1] <= 2 * MOST_SECONDS

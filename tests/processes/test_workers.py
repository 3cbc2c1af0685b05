"""Rows O2, O3 and O13 of the score card: workers are killed, writers contend, schedulers run beside each other."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import AppFactory
from tests.support import kill_scenarios
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.wait import wait_until
from tests.support.webhook_load import NO_SOCKET_HERE, SETTINGS, ConnectedApp

pytestmark = [pytest.mark.slow, pytest.mark.processes]


def test_O2_what_killed_workers_held_is_done_by_others_and_no_queue_stays_held(connected_app: ConnectedApp) -> None:
    kill_scenarios.kill_workers_at_work(connected_app, "kill -9 of workers in the middle of tasks")


def test_O13_schedulers_beside_each_other_do_nothing_twice(connected_app: ConnectedApp) -> None:
    """Two more processes sweep beside two workers."""
    kill_scenarios.run_schedulers_at_once(connected_app, "four schedulers at once")


def test_O3_writers_contend_while_an_exchange_hangs_and_none_finds_the_database_locked(new_app: AppFactory) -> None:
    connected_app = ConnectedApp(new_app(**SETTINGS))
    sender, statuses, seconds = connected_app.sender(), list[int](), size(4, 600)
    visitors = [connected_app.app.visitor().sign_up(f"Writer {number}").connect() for number in range(2)]
    connected_app.app.sandbox.fault("/integration/ExchangeToken", "hang", times=None, delay=15)
    ends_at = time.monotonic() + seconds
    pause = threading.Event()

    def until_the_end(write: Callable[[int], object]) -> None:
        turn = 0
        while time.monotonic() < ends_at:
            write(turn)
            turn += 1
            pause.wait(0.05)

    def deliver(turn: int) -> None:
        sender.post(f"O3_{turn % 50}")

    def press(turn: int) -> None:
        visitor = visitors[turn % 2]
        statuses.append(visitor.get(f"c/{visitor.code}/").status_code)
        statuses.append(visitor.post(f"c/{visitor.code}/connect/", allow_redirects=False).status_code)

    def exchange(turn: int) -> None:
        with_hanging = connected_app.visitor
        statuses.append(
            with_hanging.open_callback(connected_app.app.sandbox.decide(with_hanging.start_connect())).status_code
        )
        pause.wait(min(5, seconds / 2))

    with ThreadPoolExecutor(8) as pool:
        for write in [pool.submit(until_the_end, one) for one in [*[deliver] * 6, press, exchange]]:
            write.result()
    exchanges = connected_app.app.sandbox.exchanges()
    connected_app.app.sandbox.clear_faults()
    written = connected_app.app.log("web") + connected_app.app.log("worker")
    locked, sockets = written.count("database is locked"), written.count(NO_SOCKET_HERE)

    record(
        "O3",
        "8 writers beside workers and an exchange that hangs",
        f"{len(sender.statuses)} deliveries and {len(statuses)} pages in {seconds} s, "
        f"{sum(status >= 500 for status in [*sender.statuses, *statuses])} answers of 5xx, "
        f'{locked} times "database is locked", {sockets} sockets used inside a transaction, {exchanges} exchanges',
    )
    assert set(sender.statuses) == {200}
    assert set(statuses) <= {200, 302, 303}
    assert (locked, sockets) == (0, 0)
    assert exchanges


def test_web_and_worker_note_that_they_run_so_that_an_outage_of_either_is_noticed(new_app: AppFactory) -> None:
    app = new_app()
    app.start_web()
    wait_until(lambda: app.rows("SELECT name FROM integrations_namedlock WHERE name = 'web'") != [])
    app.start_worker()
    wait_until(lambda: app.rows("SELECT name FROM integrations_namedlock WHERE name = 'sweep'") != [])

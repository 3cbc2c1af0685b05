"""Rows R1, R3, R4, R10, R11 and T9 of the score card: real processes race, die, freeze and lose their database."""

import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from django.db import connection as database

from tests.conftest import AppFactory
from tests.support import postgres, secret_scan
from tests.support.fork_server import ForkServer, freeze, job, kill, thaw
from tests.support.measurements import record
from tests.support.running_app import RunningApp, database_file
from tests.support.sizes import size
from tests.support.troubled_connections import newest_live, refuse
from tests.support.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.processes]
EXCHANGE = "/integration/ExchangeToken"
PROCESSES, THREADS = 4, 25
LEASE = 3.0  # seconds: longer than the work that it is for, shorter than a test's time-out
HOUR = 3600.0


@pytest.fixture(scope="module")
def module_app(app_factory: AppFactory) -> Iterator[RunningApp]:
    """A database and a stand-in; the fork server starts the processes."""
    with app_factory() as running_app:
        running_app.start_sandbox()
        yield running_app


@pytest.fixture(scope="module")
def module_fork_server(module_app: RunningApp) -> Iterator[ForkServer]:
    with ForkServer(module_app) as fork_server:
        yield fork_server


@pytest.fixture
def running_app(module_app: RunningApp, module_fork_server: ForkServer) -> Iterator[RunningApp]:
    module_app.sandbox.reset()
    module_fork_server.do("clear")
    yield module_app
    module_app.sandbox.clear_faults()


@pytest.fixture
def fork_server(running_app: RunningApp, module_fork_server: ForkServer) -> ForkServer:
    return module_fork_server


def test_R1_a_hundred_callers_in_four_processes_share_one_exchange(
    running_app: RunningApp, fork_server: ForkServer
) -> None:
    rounds = size(3, 20)
    (connection,) = fork_server.do("make_connections", number=1)
    running_app.sandbox.control("DELETE", "log")
    exchanges, outcomes = [], Counter[str]()
    for _ in range(rounds):
        refuse(running_app.sandbox)
        before = running_app.sandbox.exchanges()
        results = fork_server.run(*[job("call", connection=connection, threads=THREADS) for _ in range(PROCESSES)])
        for result in results:
            outcomes.update(result.found)
        exchanges.append(running_app.sandbox.exchanges() - before)

    record(
        "R1",
        f"{PROCESSES * THREADS} concurrent 401s over {PROCESSES} processes",
        f"{sum(exchanges)} exchanges in {rounds} rounds, at most {max(exchanges)} a round;"
        f" {outcomes['answered 200']} of {rounds * PROCESSES * THREADS} calls answered",
    )
    assert exchanges == [1] * rounds
    assert outcomes == {"answered 200": rounds * PROCESSES * THREADS}


@pytest.mark.parametrize("mode", ["strict", "grace"])
def test_R3_a_process_killed_around_the_exchange_leaves_no_connection_silently_dead(
    mode: str, running_app: RunningApp, fork_server: ForkServer
) -> None:
    places = ["before journal", "before send", "sent, answer not read", "before commit", "after commit"]
    rounds, seen = size(1, 20), {place: Counter[str]() for place in places}
    for _ in range(rounds):
        running_app.sandbox.reset()
        running_app.sandbox.mode(mode)
        fork_server.do("clear")
        made = dict(zip(places, fork_server.do("make_connections", number=len(places), bystanders=60), strict=True))
        refuse(running_app.sandbox)
        running_app.sandbox.control("DELETE", "log")
        in_flight = made["sent, answer not read"]
        (pid,) = _in_flight(running_app, fork_server, in_flight)
        kill(pid)
        assert [result.status for result in fork_server.wait()] == [-9]
        running_app.sandbox.clear_faults()
        others = [place for place in places if made[place] != in_flight]
        results = fork_server.run(*[job("call", connection=made[place], at=place, lease=LEASE) for place in others])
        assert [result.status for result in results] == [-9] * len(others)

        fork_server.do("recover", lease=LEASE)
        found = {
            state["connection"]: state
            for state in fork_server.do("connection_states", ids=list(made.values()), lease=LEASE)
        }
        for place in places:
            state = found[made[place]]
            silently_dead = not state["works"] and not state["incident"]
            seen[place]["silently dead" if silently_dead else "works" if state["works"] else "needs reconnect"] += 1

    for place in places:
        outcome = ", ".join(f"{number} of {rounds}: {kind}" for kind, number in seen[place].items())
        record("R3", f"kill -9 {place}; {mode}", outcome)
    lost = "needs reconnect" if mode == "strict" else "works"
    expected = {place: Counter(works=rounds) for place in places} | {"sent, answer not read": Counter({lost: rounds})}
    assert seen == expected


def _in_flight(running_app: RunningApp, fork_server: ForkServer, connection: int) -> list[int]:
    """A process whose exchange SnapInspect has carried out, and whose answer is on its way."""
    running_app.sandbox.fault(EXCHANGE, times=1, delay=60, work=True)
    before = running_app.sandbox.exchanges()
    pids = fork_server.start(job("call", connection=connection, lease=LEASE))
    wait_until(lambda: running_app.sandbox.exchanges() == before + 1)
    return pids


class FailingDatabase:
    """Takes an app's database away: PostgreSQL is stopped at once, SQLite is locked against every write."""

    def __init__(self, running_app: RunningApp, server: postgres.Server | None) -> None:
        self.app = running_app
        self._server = server

    @contextmanager
    def down(self) -> Iterator[None]:
        if self._server:
            self._server.stop(signal.SIGQUIT)
            yield
            self._server.start()
            return
        holder = sqlite3.connect(database_file(self.app.folder), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")
        holder.close()


@pytest.fixture(scope="module")
def failing_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingDatabase]:
    folder = tmp_path_factory.mktemp("app")
    with ExitStack() as opened:
        durable = ("-c", "fsync=on")
        server = opened.enter_context(postgres.running(*durable)) if database.vendor == "postgresql" else None
        running_app = opened.enter_context(RunningApp(folder, server.url if server else "").prepare())
        running_app.start_sandbox()
        yield FailingDatabase(running_app, server)
    assert secret_scan.leaks([folder]) == []


def test_R4_a_database_that_dies_between_sending_and_saving_loses_no_pair(failing_database: FailingDatabase) -> None:
    running_app, times = failing_database.app, size(2, 20)
    recovered = 0
    with ForkServer(running_app) as fork_server:
        fork_server.do("clear")
        (connection,) = fork_server.do("make_connections", number=1)
        for _ in range(times):
            refuse(running_app.sandbox)
            before = running_app.sandbox.exchanges()
            _lose_database(failing_database, fork_server, connection, "before spool")
            fork_server.do("recover", lease=LEASE)
            (state,) = fork_server.do("connection_states", ids=[connection], lease=LEASE)
            recovered += state["works"] and running_app.sandbox.exchanges() == before + 1
    record("R4", "the database dies between sending and saving", f"{recovered} of {times} recovered from the spool")
    assert recovered == times


def test_R4_a_database_that_is_gone_before_sending_stops_the_exchange(failing_database: FailingDatabase) -> None:
    running_app, times = failing_database.app, size(1, 20)
    with ForkServer(running_app) as fork_server:
        fork_server.do("clear")
        (connection,) = fork_server.do("make_connections", number=1)
        refuse(running_app.sandbox)
        running_app.sandbox.control("DELETE", "log")
        for _ in range(times):
            _lose_database(failing_database, fork_server, connection, "before journal")
            fork_server.do("recover", lease=LEASE)
        sent = running_app.sandbox.exchanges()
        (state,) = fork_server.do("connection_states", ids=[connection], lease=LEASE)
    record("R4", "the database dies before sending", f"{sent} exchanges sent in {times}")
    assert sent == 0
    assert state["works"]


def _lose_database(failing_database: FailingDatabase, fork_server: ForkServer, connection: int, at: str) -> None:
    (pid,) = fork_server.start(job("call", connection=connection, at=at, then="wait", lease=LEASE, busy=0.2))
    fork_server.wait_for_place(pid)
    with failing_database.down():
        fork_server.resume(pid)
        (result,) = fork_server.wait()
    assert result.found in ({"OperationalError": 1}, {"InterfaceError": 1}), result


@pytest.mark.parametrize("mode", ["strict", "grace"])
def test_R10_a_holder_frozen_past_its_lease_overwrites_nothing_and_loses_nothing(
    mode: str, running_app: RunningApp, fork_server: ForkServer
) -> None:
    running_app.sandbox.mode(mode)
    (connection,) = fork_server.do("make_connections", number=1)
    refuse(running_app.sandbox)
    with ForkServer(running_app) as another:
        another.do("connection_states", ids=[])  # it has started: a frozen request's deadline goes on
        (pid,) = _in_flight(running_app, fork_server, connection)
        freeze(pid)
        try:
            (taken_over,) = another.run(job("call", connection=connection, lease=LEASE))
        finally:
            running_app.sandbox.clear_faults()
            thaw(pid)
    (late,) = fork_server.wait()
    fork_server.do("recover", lease=LEASE)
    # A new token that is refused is asked about again for fifteen minutes.
    fork_server.do("recover", lease=LEASE, passed=16 * 60)
    (state,) = fork_server.do("connection_states", ids=[connection], lease=LEASE)

    newest = newest_live(running_app.sandbox)
    fenced = "kept aside" if state["kept_aside"] else "not kept"
    record(
        "R10",
        f"SIGSTOP past the lease, another takes over, SIGCONT; {mode}",
        f"late pair {fenced}, {'newest' if state['fingerprint'] == newest else 'old'} token in use, {state['state']}",
    )
    assert (taken_over.status, late.status) == (0, 0)
    assert state["kept_aside"] == 1
    assert state["fingerprint"] == newest
    assert (state["state"], state["works"], state["pairs"]) == ("connected", True, 1)


def test_R11_hosts_whose_clocks_differ_by_two_hours_share_one_exchange(
    running_app: RunningApp, fork_server: ForkServer
) -> None:
    rounds = size(1, 20)
    (connection,) = fork_server.do("make_connections", number=1)
    exchanges = []
    for _ in range(rounds):
        refuse(running_app.sandbox)
        # Long enough for the one whose clock is ahead to look at the lease many times.
        running_app.sandbox.fault(EXCHANGE, times=1, delay=1.0, work=True)
        before = running_app.sandbox.exchanges()
        results = fork_server.run(*[job("call", connection=connection, skew=skew) for skew in (HOUR, -HOUR)])
        assert [result.found for result in results] == [{"answered 200": 1}] * 2
        exchanges.append(running_app.sandbox.exchanges() - before)
    record("R11", "two hosts, clocks one hour ahead and behind", f"{sum(exchanges)} exchanges in {rounds} rounds")
    assert exchanges == [1] * rounds


def test_T9_a_killed_disconnect_is_finished_by_the_sweep(running_app: RunningApp, fork_server: ForkServer) -> None:
    (connection,) = fork_server.do("make_connections", number=1)

    (result,) = fork_server.run(job("disconnect", connection=connection, at="after revoke"))
    fork_server.do("recover", passed=60)
    (state,) = fork_server.do("connection_states", ids=[connection])

    record("T9", "kill -9 during a disconnect", f"{state['state']}, {state['pairs']} pairs kept after the sweep")
    assert result.status == -9
    assert (state["state"], state["pairs"]) == ("disconnected", 0)


def test_a_worker_killed_while_somebody_signs_in_leaves_no_pair_behind(
    running_app: RunningApp, fork_server: ForkServer
) -> None:
    # An exchange that was sent and not answered has an unknown outcome.
    expected = {
        "before send": "unreachable",
        "before spool": "unreachable",
        "after a guest's exchange": "unknown",
        "before a guest's erasing": "unknown",
    }
    seen = {}
    for place in expected:
        guest_pair = fork_server.do("make_guest_pair")
        (result,) = fork_server.run(job("process_guest_pair", guest_pair=guest_pair, at=place, lease=LEASE))
        assert result.status == -9
        fork_server.do("recover", lease=LEASE)
        found = fork_server.do("guest_pair_state", guest_pair=guest_pair)
        seen[place] = "kept" if found["kept"] else found["outcome"]

    record("sign-in", "kill -9 of the worker at 4 points", f"{list(seen.values()).count('kept')} pairs left behind")
    assert seen == expected

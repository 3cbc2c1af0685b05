"""Rows R1, R4, R16, W1, O2 and O13 of the score card on several machines that share PostgreSQL and nothing else."""

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from integrations.snapinspect import token_pair
from tests.support import kill_scenarios, postgres, secret_scan
from tests.support.cluster import Cluster
from tests.support.fork_server import ForkServer, job
from tests.support.http_visitor import Visitor
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.wait import wait_until
from tests.support.webhook_load import SETTINGS, ConnectedApp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is missing (apt-get install nginx)"),
    pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL is missing (apt-get install postgresql)"),
]
HOSTS = "two web and two worker hosts that share PostgreSQL alone"
THREADS = 25


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as opened:
        database = opened.enter_context(postgres.running())
        running = opened.enter_context(Cluster(folder, database, **SETTINGS))
        yield running
    assert secret_scan.leaks([folder]) == sorted(running.settings_files), "the settings hold secrets, nothing else may"


@pytest.fixture(scope="module")
def connected_cluster(cluster: Cluster) -> ConnectedApp:
    return ConnectedApp(cluster, webs=2)


@pytest.fixture(scope="module")
def fork_server(connected_cluster: ConnectedApp) -> Iterator[ForkServer]:
    with ForkServer(connected_cluster.app) as fork_server:
        yield fork_server


def test_R1_a_hundred_callers_on_four_hosts_share_one_exchange(
    cluster: Cluster, connected_cluster: ConnectedApp, fork_server: ForkServer
) -> None:
    """Beside them the webs answer pages, and the workers check: they meet the same 401."""
    rounds, sandbox = size(3, 20), cluster.sandbox
    ((connection, code),) = cluster.rows("SELECT id, code FROM integrations_connection WHERE company_id = '6847'")
    hosts = [*cluster.web_hosts, *cluster.worker_hosts]
    exchanges, outcomes, explorer = [], Counter[str](), Explorer(connected_cluster.visitor)
    for _ in range(rounds):
        refuse(cluster, [connection])
        before = sandbox.exchanges()
        cluster.rows(f"UPDATE integrations_connection SET next_check_at = now() WHERE id = {connection} RETURNING id")
        with ThreadPoolExecutor(2) as beside:
            pages = [beside.submit(explorer.ask, code) for _ in range(2)]
            results = fork_server.run(
                *[job("call", connection=connection, threads=THREADS, spool=cluster.spool(host)) for host in hosts]
            )
            assert {page.result() for page in pages} == {302}
        for result in results:
            outcomes.update(result.found)
        exchanges.append(sandbox.exchanges() - before)

    calls = THREADS * len(hosts)
    record(
        "R1",
        f"{calls} concurrent 401s: {HOSTS}",
        f"{sum(exchanges)} exchanges in {rounds} rounds, at most {max(exchanges)} a round;"
        f" {outcomes['answered 200']} of {rounds * calls} calls answered",
        database="postgresql",
    )
    assert exchanges == [1] * rounds
    assert outcomes == {"answered 200": rounds * calls}


def test_R4_what_a_host_has_on_its_disk_is_committed_when_that_host_is_back(
    cluster: Cluster, connected_cluster: ConnectedApp, fork_server: ForkServer
) -> None:
    """A web host is lost between an answer and its commit. No worker can see its disk: it looks itself."""
    (connection,) = fork_server.do("make_connections", number=1, bystanders=60, first=40_000)
    with connected_cluster.without_web():
        host = cluster.idle(cluster.web_hosts)
        refuse(cluster, [connection])
        before = cluster.sandbox.exchanges()
        (result,) = fork_server.run(
            job("call", connection=connection, at="before commit", lease=1, spool=cluster.spool(host))
        )
        assert result.status == -9
        # The others can only find the old tokens dead, and say so.
        wait_until(lambda: _state(cluster, connection) == "needs_reconnect")
    wait_until(lambda: _state(cluster, connection) == "connected")
    (state,) = fork_server.do("connection_states", ids=[connection])

    record(
        "R4",
        f"a web host dies between an answer and its commit, and comes back: {HOSTS}",
        f"{state['state']}, {'the pair works' if state['works'] else 'no pair works'}, "
        f"{cluster.sandbox.exchanges() - before} exchanges",
        database="postgresql",
    )
    assert state["works"]
    assert list(cluster.spool(host).glob("*.json")) == []


def _state(cluster: Cluster, connection: int) -> str:
    ((state,),) = cluster.rows(f"SELECT state FROM integrations_connection WHERE id = {connection}")
    return str(state)


def test_W1_deliveries_survive_kill_minus_9_of_hosts_with_one_effect_each(connected_cluster: ConnectedApp) -> None:
    kill_scenarios.kill_while_posting(connected_cluster, f"kill -9 of webs and workers, again and again: {HOSTS}")


def test_O2_what_killed_hosts_held_is_done_by_others_and_no_queue_stays_held(connected_cluster: ConnectedApp) -> None:
    kill_scenarios.kill_workers_at_work(connected_cluster, f"kill -9 of workers in the middle of tasks: {HOSTS}")


def test_O13_sweeps_on_several_hosts_do_nothing_twice(connected_cluster: ConnectedApp) -> None:
    kill_scenarios.run_schedulers_at_once(connected_cluster, f"four schedulers at once: {HOSTS}")


def test_R16_restarts_under_constant_refresh_lose_no_connection(
    cluster: Cluster, connected_cluster: ConnectedApp, fork_server: ForkServer
) -> None:
    rounds, companies = size(2, 25), range(30_000, 30_008)
    visitor, sender, asked = cluster.visitor().sign_up("Charlie's Lettings"), connected_cluster.sender(), Counter[int]()
    connections = fork_server.do(
        "make_connections", number=len(companies), bystanders=200, code=visitor.code, first=companies[0]
    )
    ours = ", ".join(map(str, connections))
    codes = [code for (code,) in cluster.rows(f"SELECT code FROM integrations_connection WHERE id IN ({ours})")]
    explorer, before = Explorer(visitor), cluster.sandbox.exchanges()
    # Of each company's own: look-ups of what is not there would keep events waiting long after this test.
    inspections = [cluster.sandbox.control("POST", "inspections", {"company": company}) for company in companies]

    def look(turn: int) -> None:
        asked[explorer.ask(codes[turn % len(codes)])] += 1

    def deliver(turn: int) -> None:
        which = turn % len(companies)
        sender.post(f"R16_{turn}", iCompanyID=companies[which], iInspectionID=inspections[which]["iInspectionID"])

    def refuse_what_works(_: int) -> None:
        """A pair that has answered since it was exchanged is refused from now on."""
        refuse(cluster, connections, "proved_at IS NOT NULL AND exchange_sent_at IS NULL")
        cluster.rows(f"UPDATE integrations_connection SET next_check_at = now() WHERE id IN ({ours}) RETURNING id")

    with meanwhile(look, deliver, refuse_what_works):
        for _ in range(rounds):
            connected_cluster.restart()
    exchanges = cluster.sandbox.exchanges() - before
    found = fork_server.do("connection_states", ids=connections)
    works = sum(state["works"] and state["state"] == "connected" for state in found)
    entries = cluster.rows("SELECT subject, detail FROM accounts_auditentry WHERE kind = 'connection.needs_reconnect'")
    asked_for_help = [detail for code, detail in entries if code in codes]

    record(
        "R16",
        f"SIGTERM restarts under constant refresh: {HOSTS}",
        f"{2 * rounds} restarts, {exchanges} exchanges, {len(connections) - works} of {len(connections)} connections"
        f" lost, {len(asked_for_help)} times a person was asked; {len(sender.acknowledged)} deliveries acknowledged;"
        f" {asked.total() - asked[302]} of {asked.total()} pages failed",
        database="postgresql",
    )
    assert (works, asked_for_help) == (len(connections), [])
    assert exchanges > 2 * rounds
    assert asked[302]


def refuse(cluster: Cluster, connections: list[int], pairs: str = "true") -> None:
    """Ends the access tokens of these connections, and of no other in the same app; `pairs`: which, in SQL."""
    doomed = cluster.rows(
        f"SELECT fingerprint FROM integrations_tokenpair WHERE role = 'current' AND {pairs}"
        f" AND connection_id IN ({', '.join(map(str, connections))})"
    )
    for token in cluster.sandbox.tokens():
        if token["live"] and token["kind"] == "access" and (token_pair.fingerprint(token["token"]),) in doomed:
            cluster.sandbox.control("POST", "revoke", {"token": token["token"]})


@contextmanager
def meanwhile(*acts: Callable[[int], None]) -> Iterator[None]:
    """Each is done again and again, in a thread of its own, until the end; what one of them raises is raised."""
    over = threading.Event()

    def until_the_end(act: Callable[[int], None]) -> None:
        turn = 0
        while not over.wait(0.1):
            act(turn)
            turn += 1

    with ThreadPoolExecutor(len(acts)) as pool:
        jobs = [pool.submit(until_the_end, act) for act in acts]
        try:
            yield
        finally:
            over.set()
        for each in jobs:
            each.result()


class Explorer:
    """Somebody who asks SnapInspect by a page, again and again: a page of our web is one of the callers."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor, self._page = visitor, f"c/{visitor.code}/explorer/"
        self._token = visitor.csrf_token(self._page)

    def ask(self, code: str) -> int:
        """The status of the answer, once SnapInspect was asked as the connection of this code."""
        fields = {"connection": code, "path": "user"}
        return self._visitor.post(self._page, fields, token=self._token, allow_redirects=False).status_code

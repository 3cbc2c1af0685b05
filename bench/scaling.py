"""What one delivery, one event, one check and one page cost: the figures of docs/scaling.md, as a table.

`python -m bench.scaling`: one web and one worker from the units of deploy/systemd, with production settings, on a
PostgreSQL with fsync. Measured is processor time, which other work on the machine hardly changes.
"""

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from bench.processes import megabytes, processor_seconds  # noqa: E402
from tests.support import postgres  # noqa: E402
from tests.support.cluster import Cluster  # noqa: E402
from tests.support.fork_server import ForkServer  # noqa: E402
from tests.support.troubled_connections import FIRST_COMPANY  # noqa: E402
from tests.support.wait import wait_until  # noqa: E402
from tests.support.webhook_load import Sender  # noqa: E402

COMPANIES, EVENTS, PAGES, CHECKS, IDLE_SECONDS = 50, 2000, 60, 4, 20.0
TABLES = ("delivery", "event", "eventdelivery", "attempt")
# Run by `manage.py shell`; prints its processor seconds.
TIMED = """
import time
from integrations.events import routing
from integrations.operations import retention
started = time.process_time()
{}
print(time.process_time() - started)
"""
PLACE = "while routing.route_batch(): pass"
PRUNE = "for rule in retention.RULES: list(retention.prune(rule))"
MAKE_OLD = (
    "UPDATE integrations_event SET received_at = now() - interval '500 days', finished_at = now() - interval '500 days'"
    " RETURNING id",
    "UPDATE integrations_delivery SET received_at = now() - interval '500 days' RETURNING id",
)


class Row(NamedTuple):
    what: str
    process: str
    database: str


class Meter:
    """Measures the processor time of a process and of the database."""

    def __init__(self, pid: int, database: int) -> None:
        self._pids = (pid, database)

    def measure(self, what: str, count: int, act: Callable[[], object]) -> Row:
        """Milliseconds for each of the `count` things that `act` does."""
        before = [processor_seconds(pid) for pid in self._pids]
        act()
        used = [processor_seconds(pid) - start for pid, start in zip(self._pids, before, strict=True)]
        return Row(what, *(f"{seconds / count * 1000:.2f} ms" for seconds in used))


def measure(cluster: Cluster, database: int) -> Iterator[Row]:
    cluster.start_sandbox()
    web = cluster.start_web()
    visitor, sender = cluster.visitor().sign_up(), Sender(cluster)
    sender.url = sender.url.replace(cluster.url, f"http://localhost:{cluster.port}/")  # past the proxy
    with ForkServer(cluster) as fork_server:
        connections = fork_server.do("make_connections", number=COMPANIES, code=visitor.code)
    cluster.rows("UPDATE integrations_connection SET next_check_at = now() + interval '1 day' RETURNING id")
    cluster.sandbox.control("POST", "webhooks/pause")
    inspections = [
        (company, cluster.sandbox.control("POST", "inspections", {"company": company})["iInspectionID"])
        for company in (FIRST_COMPANY + number % COMPANIES for number in range(EVENTS))
    ]

    def deliver() -> None:
        with ThreadPoolExecutor(8) as pool:
            for job in [
                pool.submit(sender.post, "Create_Inspection", iCompanyID=company, iInspectionID=inspection)
                for company, inspection in inspections
            ]:
                job.result()

    meter, before = Meter(web.pid, database), log_position(cluster)
    yield meter.measure("a delivery, from the socket to the 200", EVENTS, deliver)
    page = f"c/{visitor.code}/"
    visitor.get(page)
    yield meter.measure(
        f"a dashboard ({COMPANIES} connections)", PAGES, lambda: [visitor.get(page) for _ in range(PAGES)]
    )

    yield timed(cluster, database, "a delivery placed: one worker at a time does that", PLACE)
    # Until the worker has started: what that takes is no event's.
    cluster.rows("UPDATE integrations_eventqueue SET paused_until = now() + interval '1 hour' RETURNING connection_id")
    worker = cluster.start_worker()
    done = "SELECT count(*) FROM integrations_event WHERE state = 'done'"
    wait_until(lambda: cluster.rows("SELECT count(*) FROM integrations_worker")[0][0] > 0)

    def drained() -> None:
        cluster.rows("UPDATE integrations_eventqueue SET paused_until = NULL RETURNING connection_id")
        wait_until(lambda: cluster.rows(done) == [(EVENTS,)], seconds=600, every=1)

    meter = Meter(worker.pid, database)
    yield meter.measure("an event, looked up and done", EVENTS, drained)
    written = (log_position(cluster) - before) / EVENTS
    checked = "SELECT count(*) FROM integrations_connection WHERE next_check_at > now() + interval '2 hours'"

    def check(*_: object) -> None:
        cluster.rows("UPDATE integrations_connection SET next_check_at = now() RETURNING id")
        wait_until(lambda: cluster.rows(checked) == [(len(connections),)], seconds=120, every=0.5)

    check()  # the first one in a process has its queries written
    yield meter.measure("a daily check", COMPANIES * CHECKS, lambda: deque(map(check, range(CHECKS))))
    idle = meter.measure("", int(IDLE_SECONDS), lambda: time.sleep(IDLE_SECONDS))
    yield Row("a second of a worker that has nothing to do", idle.process, idle.database)
    yield Row("memory, web (2 processes) / worker", f"{megabytes(web.pid):.0f} / {megabytes(worker.pid):.0f} MB", "")
    yield Row("write-ahead log for an event", "", f"{written / 1024:.1f} kB")
    for table in TABLES:
        ((heap, indexes, rows),) = cluster.rows(
            f"SELECT pg_table_size('integrations_{table}'), pg_indexes_size('integrations_{table}'),"
            f" (SELECT count(*) FROM integrations_{table})"
        )
        yield Row(f"a row of {table} ({rows} rows)", "", f"{heap / rows:.0f} + {indexes / rows:.0f} bytes of indexes")

    for statement in MAKE_OLD:
        cluster.rows(statement)
    yield timed(cluster, database, "an event and its delivery, deleted by prune", PRUNE)
    left = {table: cluster.rows(f"SELECT count(*) FROM integrations_{table}") for table in TABLES}
    assert set(map(str, left.values())) == {"[(0,)]"}, left


def timed(cluster: Cluster, database: int, what: str, code: str) -> Row:
    before = processor_seconds(database)
    used = float(cluster.manage("shell", "--verbosity", "0", "-c", TIMED.format(code)))
    by_database = processor_seconds(database) - before
    return Row(what, *(f"{seconds / EVENTS * 1000:.2f} ms" for seconds in (used, by_database)))


def log_position(cluster: Cluster) -> int:
    return int(cluster.rows("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0])


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="connect-scaling-") as folder,
        postgres.running("-c", "fsync=on") as server,
        Cluster(Path(folder), server, LOG_LEVEL="INFO") as cluster,
    ):
        for row in measure(cluster, server.pid):
            print(f"| {row.what} | {row.process} | {row.database} |", flush=True)


if __name__ == "__main__":
    main()

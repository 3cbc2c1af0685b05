"""Rows O2, O3 and O13 of the score card: workers are killed, writers contend, schedulers run beside each other."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django_tasks_db.models import DBTaskResult

from integrations import lanes
from tests.conftest import OpenWorld
from tests.driving import OTHER
from tests.figures import record
from tests.fleet import FIRST_COMPANY
from tests.nursery import Nursery, job
from tests.sizes import size
from tests.stage import NO_SOCKET_HERE, SETTINGS, Stage
from tests.world import World, wait_until

pytestmark = pytest.mark.processes
on_the_stage = pytest.mark.xdist_group("processes")


@on_the_stage
def test_O2_what_killed_workers_held_is_done_by_others_and_no_task_stays_running(stage: Stage) -> None:
    sandbox, sender, turns = stage.world.sandbox, stage.sender(), size(3, 50)
    companies = range(FIRST_COMPANY, FIRST_COMPANY + size(6, 40))
    with Nursery(stage.world) as nursery:
        nursery.do("make", number=len(companies))
    sandbox.control("POST", "webhooks/pause")
    inspections = {
        company: sandbox.control("POST", "inspections", {"company": company})["iInspectionID"] for company in companies
    }
    # So that there is a middle to be killed in.
    sandbox.fault("/inspections/*", "delay", times=None, seconds=0.3)
    deliveries = kills = 0
    for turn in range(turns):
        seen = sandbox.control("GET", "log?path=/nothing")["last"]
        for company in companies[turn % 2 :: 2]:
            deliveries += 1
            fields = {"iInspectionID": inspections[company], "iCompanyID": company}
            sender.post(f"O2_{deliveries}", **fields)
        looks = sandbox.control("GET", "log?path=/inspections/*", after=seen, wait=25)
        assert looks["requests"], "no worker is in the middle of a task"
        kills += stage.kill_workers()
    killed_at = time.monotonic()
    sandbox.clear_faults()
    found = stage.wait_until_done("O2", deliveries, seconds=300)
    took = time.monotonic() - killed_at
    stage.world.rows(f"UPDATE {TASKS} SET started_at = '2020-01-01 00:00:00' WHERE status = 'RUNNING' RETURNING id")
    wait_until(lambda: stage.world.rows(STUCK) == [(0,)])
    sandbox.control("POST", "webhooks/resume")

    record(
        "O2",
        "kill -9 of workers in the middle of tasks",
        f"{kills} killed, {found.done} of {deliveries} events done {took:.0f} s after the last one "
        f"(lease {LEASE:.0f} s), at most {found.most_effects} effect each, 0 tasks RUNNING beyond their time",
    )
    assert len(found.effects) == deliveries
    assert found.most_effects == 1


LEASE = float(SETTINGS.get("LANE_LEASE", lanes.LEASE.total_seconds()))
TASKS = DBTaskResult._meta.db_table
STUCK = f"SELECT count(*) FROM {TASKS} WHERE status = 'RUNNING' AND started_at < '2021-01-01 00:00:00'"


@on_the_stage
def test_O13_schedulers_beside_each_other_do_nothing_twice(stage: Stage) -> None:
    """Two workers sweep already; two more processes do nothing else."""
    world, sender, deliveries = stage.world, stage.sender(), size(60, 2000)
    other = world.visitor().sign_up("Charlie's Lettings").connect(OTHER)
    missed = stage.missed(size(5, 40))
    mails = mails_about(world, "Charlie's Lettings")
    with Nursery(world) as nursery, ThreadPoolExecutor(1) as beside:
        posting = beside.submit(sender.post_all, [f"O13_{number}" for number in range(deliveries)])
        world.rows("UPDATE integrations_lane SET gap_since = fine_at RETURNING connection_id")
        world.rows(
            "UPDATE integrations_connection SET notice = 'broken', next_notice_at = connected_at"
            f" WHERE customer_id = (SELECT id FROM accounts_customer WHERE code = '{other.code}') RETURNING id"
        )
        ends = nursery.run(*[job("schedule", rounds=size(10, 200)) for _ in range(2)])
        posting.result()
    found = stage.wait_until_done("O13", deliveries)
    wait_until(lambda: len(stage.effects_about(missed)) == len(missed), every=0.25)
    world.sandbox.control("POST", "webhooks/resume")
    settled = world.sandbox.control("GET", "webhooks", wait=30)
    stage.until_nothing_waits()
    found, recovered = stage.found("O13"), stage.effects_about(missed)
    told = mails_about(world, "Charlie's Lettings") - mails

    record(
        "O13",
        "four schedulers at once",
        f"{deliveries} deliveries, {len(missed)} inspections to recover and 1 notice: {sum(found.effects.values())}, "
        f"{sum(recovered.values())} and {told} effects",
    )
    assert {end.status for end in ends} == {0}
    assert set(missed) <= set(settled["acknowledged"]), settled["counts"]
    assert found.done == len(found.effects) == sum(found.effects.values()) == deliveries
    assert recovered == {str(inspection): 1 for inspection in missed}
    assert told == 1


def mails_about(world: World, customer: str) -> int:
    folder = world.folder / "mail"
    texts = [path.read_text() for path in folder.iterdir()] if folder.exists() else []
    return sum(text.count("Subject:") for text in texts if customer in text)


@pytest.mark.xdist_group("writers")
def test_O3_writers_contend_while_an_exchange_hangs_and_none_finds_the_database_locked(open_world: OpenWorld) -> None:
    stage = Stage(open_world(**SETTINGS))
    sender, statuses, seconds = stage.sender(), list[int](), size(4, 600)
    visitors = [stage.world.visitor().sign_up(f"Writer {number}").connect() for number in range(2)]
    stage.world.sandbox.fault("/integration/ExchangeToken", "hang", times=None, seconds=15)
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
        with_hanging = stage.visitor
        statuses.append(with_hanging.come_back(stage.world.sandbox.decide(with_hanging.leave())).status_code)
        pause.wait(min(5, seconds / 2))

    with ThreadPoolExecutor(8) as pool:
        for write in [pool.submit(until_the_end, one) for one in [*[deliver] * 6, press, exchange]]:
            write.result()
    exchanges = stage.world.sandbox.exchanges()
    stage.world.sandbox.clear_faults()
    written = stage.world.log("web") + stage.world.log("worker")
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

"""Rows W1, O2 and O13 of the score card, for an app on one machine or on several."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from integrations.models import leases
from tests.support import secret_scan
from tests.support.clients import OTHER
from tests.support.fork_server import ForkServer, job
from tests.support.measurements import record
from tests.support.running_app import RunningApp
from tests.support.sizes import size
from tests.support.troubled_connections import FIRST_COMPANY
from tests.support.wait import wait_until
from tests.support.webhook_load import SETTINGS, ConnectedApp, Sender

LEASE = float(SETTINGS.get("LEASE_SECONDS", leases.LEASE.total_seconds()))
HELD = "SELECT count(*) FROM integrations_eventqueue WHERE lease_until IS NOT NULL"


def kill_while_posting(connected_app: ConnectedApp, injected: str) -> None:
    """W1: what is acknowledged while processes are killed is not lost, and has its effect once."""
    deliveries, kills = size(120, 1000), size(2, 20)
    sender = post_while_killing(connected_app, "W1", deliveries=deliveries, kills=kills, before_kill=lambda _: None)
    check_and_record("W1", injected, connected_app, "W1", sender, deliveries)


def post_while_killing(
    connected_app: ConnectedApp, word: str, *, deliveries: int, kills: int, before_kill: Callable[[int], None]
) -> Sender:
    """Posts deliveries and kills web and worker, `kills` times each. Returns when all are acknowledged."""
    sender = connected_app.sender()
    batches = [[f"{word}_{number}" for number in range(first, deliveries, kills)] for first in range(kills)]
    for number, types in enumerate(batches):
        with ThreadPoolExecutor(1) as pool:
            posting = pool.submit(sender.post_all, types)
            threading.Event().wait(random.uniform(0, 0.2))
            before_kill(number)
            connected_app.kill_web()
            connected_app.kill_worker()
            connected_app.start_web()
            posting.result()
    return sender


def check_and_record(
    row: str, injected: str, connected_app: ConnectedApp, word: str, sender: Sender, deliveries: int
) -> None:
    found = connected_app.wait_until_done(word, deliveries)
    lost = sender.acknowledged - found.stored
    record(
        row,
        injected,
        f"{len(sender.acknowledged)} acknowledged in {sender.tries} tries, {len(lost)} lost, {found.done} done, "
        f"{len(found.effects)} effects, at most {found.most_effects} each",
        database=connected_app.app.vendor,
    )
    assert not lost
    assert len(sender.acknowledged) == found.done == len(found.effects) == deliveries
    assert found.most_effects == 1
    assert secret_scan.leaks([connected_app.app.folder]) == connected_app.app.settings_files


def kill_workers_at_work(connected_app: ConnectedApp, injected: str) -> None:
    """O2: what killed workers held is done by others, and no queue stays held."""
    sandbox, sender, turns = connected_app.app.sandbox, connected_app.sender(), size(3, 50)
    companies = range(FIRST_COMPANY, FIRST_COMPANY + size(6, 40))
    with ForkServer(connected_app.app) as fork_server:
        fork_server.do("make_connections", number=len(companies))
    sandbox.control("POST", "webhooks/pause")
    inspections = {
        company: sandbox.control("POST", "inspections", {"company": company})["iInspectionID"] for company in companies
    }
    # Look-ups take a while, so that workers are killed during one.
    sandbox.fault("/inspections/*", times=None, delay=0.3)
    deliveries = kills = 0
    for turn in range(turns):
        seen = sandbox.control("GET", "log?path=/nothing")["last"]
        for company in companies[turn % 2 :: 2]:
            deliveries += 1
            fields = {"iInspectionID": inspections[company], "iCompanyID": company}
            sender.post(f"O2_{deliveries}", **fields)
        looks = sandbox.control("GET", "log?path=/inspections/*", after=seen, wait=100)
        assert looks["requests"], "no worker is in the middle of a task"
        kills += connected_app.kill_workers()
    killed_at = time.monotonic()
    sandbox.clear_faults()
    found = connected_app.wait_until_done("O2", deliveries, seconds=300)
    took = time.monotonic() - killed_at
    wait_until(lambda: connected_app.app.rows(HELD) == [(0,)])
    sandbox.control("POST", "webhooks/resume")

    record(
        "O2",
        injected,
        f"{kills} killed, {found.done} of {deliveries} events done {took:.0f} s after the last one "
        f"(lease {LEASE:.0f} s), at most {found.most_effects} effect each, 0 queues held",
        database=connected_app.app.vendor,
    )
    assert len(found.effects) == deliveries
    assert found.most_effects == 1


def run_schedulers_at_once(connected_app: ConnectedApp, injected: str) -> None:
    """O13: two more processes sweep beside two workers, and nothing is done twice."""
    app, sender, deliveries = connected_app.app, connected_app.sender(), size(60, 2000)
    other = app.visitor().sign_up("Charlie's Lettings").connect(OTHER)
    missed = connected_app.missed(size(5, 40))
    mails = mails_about(app, "Charlie's Lettings")
    with ForkServer(app) as fork_server, ThreadPoolExecutor(1) as pool:
        posting = pool.submit(sender.post_all, [f"O13_{number}" for number in range(deliveries)])
        app.rows("UPDATE integrations_eventqueue SET gap_since = fine_at RETURNING connection_id")
        app.rows(
            "UPDATE integrations_connection SET notice = 'broken', next_notice_at = connected_at"
            f" WHERE customer_id = (SELECT id FROM accounts_customer WHERE code = '{other.code}') RETURNING id"
        )
        results = fork_server.run(*[job("sweep_and_work", rounds=size(10, 200)) for _ in range(2)])
        posting.result()
    found = connected_app.wait_until_done("O13", deliveries)
    wait_until(lambda: len(connected_app.effects_about(missed)) == len(missed), every=0.25)
    app.sandbox.control("POST", "webhooks/resume")
    settled = app.sandbox.control("GET", "webhooks", wait=30)
    connected_app.wait_until_idle()
    found, recovered = connected_app.found("O13"), connected_app.effects_about(missed)
    mailed = mails_about(app, "Charlie's Lettings") - mails

    record(
        "O13",
        injected,
        f"{deliveries} deliveries, {len(missed)} inspections to recover and 1 notice: {sum(found.effects.values())}, "
        f"{sum(recovered.values())} and {mailed} effects",
        database=connected_app.app.vendor,
    )
    assert {result.status for result in results} == {0}
    assert set(missed) <= set(settled["acknowledged"]), settled["deliveries"]
    assert found.done == len(found.effects) == sum(found.effects.values()) == deliveries
    assert recovered == {str(inspection): 1 for inspection in missed}
    assert mailed == 1


def mails_about(app: RunningApp, customer: str) -> int:
    folder = app.folder / "mail"
    texts = [path.read_text() for path in folder.iterdir()] if folder.exists() else []
    return sum(text.count("Subject:") for text in texts if customer in text)

"""Rows A11 of the score card, inside one process: calls that last long do not hold up the others."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection as database

from accounts.models import Customer, User
from integrations.background import jobs, pool
from integrations.background.due_rows import Job
from integrations.background.pool import Pool
from integrations.events import handlers
from integrations.models import Event
from integrations.snapinspect import transport
from tests.support import troubled_connections
from tests.support.clients import Sandbox
from tests.support.deliveries import payload, post
from tests.support.wait import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "registry", {})


@contextmanager
def running(threads: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """A pool at work in this process."""
    monkeypatch.setattr(jobs, "stop_requested", threading.Event())
    at_work = Pool(threads, jobs.ORDER)

    def look() -> None:
        while not jobs.stop_requested.wait(pool.LOOK_SECONDS):
            at_work.look()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield at_work
    finally:
        jobs.stop_requested.set()
        looking.join()
        at_work.join()
        database.close()


def done(word: str) -> int:
    return Event.objects.filter(type__startswith=word, state=Event.State.DONE).count()


def test_A11_while_four_accounts_hang_at_once_three_threads_serve_the_others_within_seconds(
    sandbox: Sandbox, alice: User, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = troubled_connections.connect(sandbox, acme, alice, 7)
    inspections = {
        int(one.company_id): sandbox.control("POST", "inspections", {"company": int(one.company_id)})["iInspectionID"]
        for one in connected
    }
    sandbox.control("POST", "webhooks/pause")
    hanging, fine = list(inspections)[:4], list(inspections)[4:]
    for company in hanging:
        sandbox.fault("/inspections*", times=None, delay=60, company=company)
    for number, company in enumerate([*hanging, *fine * 3]):
        word = "Hangs" if company in hanging else "Fine"
        assert post(payload(f"{word}_{number}", inspections[company], iCompanyID=company)).status_code == 200

    with running(3, monkeypatch):
        began = time.monotonic()
        wait_until(lambda: done("Fine") == 9)
        took = time.monotonic() - began
        assert done("Hangs") == 0
        sandbox.clear_faults()
        wait_until(lambda: done("Hangs") == 4)

    print(f"four accounts hang: the others' events were done after {took:.1f} s")
    assert took < 14, "a call that hangs is given up after 15 s"
    sandbox.control("POST", "webhooks/resume")


def test_only_so_many_calls_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    most, release = [0], threading.Event()
    monkeypatch.setattr(transport, "calls_longer_than", lambda seconds, by: most[0])
    monkeypatch.setattr(pool.Pool, "_turn", lambda _: release.wait(60))
    with running(2, monkeypatch) as running_pool:
        wait_until(lambda: len(running_pool._threads) == 2)
        most[0] = 1
        wait_until(lambda: len(running_pool._threads) == 3)
        most[0] = 100
        wait_until(lambda: len(running_pool._threads) == 2 + pool.MOST_SLOW)
        most[0] = 0
        release.set()
        wait_until(lambda: len(running_pool._threads) == 2)


def test_a_thread_that_ends_by_an_error_breaks_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(_: int) -> None:
        raise SystemExit

    monkeypatch.setattr(jobs, "ORDER", [Job(User.objects.all, ends)])
    User.objects.create_user("row@example.com")
    with running(1, monkeypatch) as running_pool:
        wait_until(lambda: running_pool.is_broken)

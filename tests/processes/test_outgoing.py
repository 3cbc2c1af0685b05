"""Rows K1 and K2 of the score card: webhooks out of real workers that are killed, and to endpoints in trouble."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import quantiles

import pytest

from tests.conftest import AppFactory
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.wait import wait_until
from tests.support.webhook_endpoint import Endpoint, register
from tests.support.webhook_load import SETTINGS, ConnectedApp

pytestmark = [pytest.mark.slow, pytest.mark.processes]
WRITTEN = "SELECT count(*) FROM integrations_outgoingdelivery"
NOT_DELIVERED = "SELECT count(*) FROM integrations_outgoingdelivery WHERE state <> 'delivered'"


@pytest.fixture
def connected(new_app: AppFactory) -> ConnectedApp:
    return ConnectedApp(new_app(**SETTINGS, SNAPINSPECT_INSPECTION_PATH=""))


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    with ExitStack() as opened:

        def make(*, wait: float = 0) -> Endpoint:
            made = Endpoint(wait=wait)
            opened.callback(made.close)
            return made

        yield make


def test_K1_workers_are_killed_while_they_send_and_no_webhook_is_lost(
    connected: ConnectedApp, endpoint: Callable[..., Endpoint]
) -> None:
    events, kills = size(400, 10_000), size(4, 50)
    receiver = endpoint(wait=0.02)
    (receiver.secret,) = register(connected.app.manage, receiver.url)
    sender = connected.sender()
    batches = [[f"K1_{number}" for number in range(first, events, kills)] for first in range(kills)]
    posted = 0
    for number, batch in enumerate(batches):
        sender.post_all(batch)
        posted += len(batch)
        # Every fifth kill leaves events in the middle of their processing, and the next worker waits for the lease of
        # their queue, 45 s; the other kills wait for the lease of the endpoint alone, 15 s.
        if number % 5:
            wait_until(lambda posted=posted: connected.app.rows(WRITTEN)[0][0] >= posted, seconds=150)  # type: ignore[misc]
        seen = posted - len(batch) // 2
        wait_until(lambda seen=seen: len(receiver.events) >= seen, seconds=150, every=0.005)  # type: ignore[misc]
        connected.kill_workers()
    wanted = {f"K1_{number}" for number in range(events)}
    wait_until(lambda: receiver.events >= wanted, seconds=size(300, 1800), every=0.25)
    wait_until(lambda: connected.app.rows(NOT_DELIVERED) == [(0,)])

    repeats = receiver.times_seen.total() - len(receiver.times_seen)
    record(
        "K1",
        "kill -9 of all workers while they send webhooks",
        f"{2 * kills} killed, {len(wanted - receiver.events)} of {events} events missing at the endpoint, "
        f"{repeats} webhooks came again with the same webhook-id",
        database=connected.app.vendor,
    )
    assert len(receiver.times_seen) == events, "one message for each event"
    assert receiver.refused == 0


def test_K2_an_endpoint_that_hangs_one_that_is_down_and_a_slow_one_delay_no_other(
    connected: ConnectedApp, endpoint: Callable[..., Endpoint]
) -> None:
    seconds, per_second = size(10, 60), size(5, 20)
    quick, slow, hanging = endpoint(), endpoint(wait=2), endpoint(wait=60)
    with socket.create_server(("127.0.0.1", 0)) as down:
        nobody = f"http://127.0.0.1:{down.getsockname()[1]}/"
    (quick.secret,) = register(connected.app.manage, quick.url)
    sender = connected.sender()

    def p95(word: str) -> float:
        quick.delays.clear()
        before = len(quick.times_seen)
        with sender.steadily(word, per_second):
            time.sleep(seconds)
        posted = sum(type_.startswith(f"{word}_") for type_ in sender.acknowledged)
        wait_until(lambda: len(quick.times_seen) == before + posted)
        return quantiles(quick.delays, n=20)[-1]

    p95("K2_warm")
    alone = p95("K2_alone")
    slow.secret, hanging.secret, _ = register(connected.app.manage, slow.url, hanging.url, nobody)
    beside = p95("K2_beside")

    record(
        "K2",
        "an endpoint hangs, one is down, one takes 2 s, beside one that answers at once",
        f"p95 of the last one's delay: {alone:.2f} s alone, {beside:.2f} s beside them",
        database=connected.app.vendor,
    )
    assert len(hanging.times_seen) <= 8, "it is not asked again and again"
    assert slow.times_seen
    # Workers look every half second, so below that the figures are chance.
    # A request to the one that hangs lasts 15 s.
    assert beside <= size(alone + 10, 1.2 * max(alone, 0.5))

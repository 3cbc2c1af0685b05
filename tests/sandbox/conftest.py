"""One stand-in for all these tests, in its first state for each. No database, and nothing of the app."""

from collections.abc import Iterator

import pytest

from integrations import sandbox

from .receiver import Receiver, receiving
from .remote import PREFIX, REGISTERED, Remote


@pytest.fixture(scope="package")
def running() -> Iterator[Remote]:
    with sandbox.serve(**REGISTERED, token_prefix=PREFIX) as server:
        remote = Remote(server.url)
        with remote.http:
            yield remote


@pytest.fixture
def remote(running: Remote) -> Remote:
    running.control("POST", "reset")
    running.control("POST", "mode", mode="strict")
    running.control("DELETE", "log")
    return running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as there:
        yield there


@pytest.fixture
def sender(receiver: Receiver) -> Iterator[Remote]:
    """A stand-in of its own, whose webhooks go to the receiver; two hours of retries take it half a second."""
    with sandbox.serve(**REGISTERED, webhook_url=receiver.url, webhook_speed=4 * 3600) as server:
        remote = Remote(server.url)
        with remote.http:
            yield remote
            # Whoever is held up there must get its answer before the stand-in stops.
            receiver.gate.set()

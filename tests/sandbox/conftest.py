"""One stand-in for all these tests, reset before each. No database, and nothing of the app."""

from collections.abc import Iterator

import pytest

from integrations import sandbox

from .client import PREFIX, REGISTERED, SandboxClient
from .receiver import Receiver, receiving


@pytest.fixture(scope="package")
def shared() -> Iterator[SandboxClient]:
    with sandbox.serve(**REGISTERED, token_prefix=PREFIX) as server, SandboxClient(server.url) as client:
        yield client


@pytest.fixture
def client(shared: SandboxClient) -> SandboxClient:
    shared.control("POST", "reset")
    return shared


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def sender(receiver: Receiver) -> Iterator[SandboxClient]:
    """A stand-in of its own, whose webhooks go to the receiver; two hours of retries take it half a second."""
    with (
        sandbox.serve(**REGISTERED, webhook_url=receiver.url, webhook_speed=4 * 3600) as server,
        SandboxClient(server.url) as client,
    ):
        yield client

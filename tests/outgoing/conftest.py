from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.models import WebhookEndpoint
from integrations.outgoing import endpoints
from tests.snapinspect.remotes import Answering, Remote

Made = Callable[..., tuple[WebhookEndpoint, str]]
Serve = Callable[[Answering | bytes], Remote]


@pytest.fixture
def make(acme: Customer, alice: User) -> Made:
    """Makes an endpoint, of Acme unless told otherwise."""

    def make(**values: Any) -> tuple[WebhookEndpoint, str]:
        defaults: dict[str, Any] = {"url": "https://hooks.example/", "types": ["*"], "customer": acme, "by": alice}
        return endpoints.create(**defaults | values)

    return make


@pytest.fixture
def loopback(settings: Settings) -> None:
    """Endpoints of this machine are reached, as in development."""
    settings.ALLOW_INSECURE_LOOPBACK = True


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers as it is told."""
    with ExitStack() as stack:

        def start(answer: Answering | bytes) -> Remote:
            remote = Remote(answer)
            stack.callback(remote.close)
            return remote

        yield start

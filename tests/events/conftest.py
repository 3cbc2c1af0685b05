"""A connection to the stand-in, and a handler that keeps what it was called with."""

import pytest

from accounts.models import Customer, User
from integrations.events import handlers
from integrations.events.handlers import Happening
from integrations.models import Connection
from integrations.snapinspect import client
from tests.support.clients import OTHER, Sandbox, quick_connect


@pytest.fixture(autouse=True)
def no_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without handlers of other tests."""
    monkeypatch.setattr(handlers, "registry", {})


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the tries of one call."""
    monkeypatch.setattr(client, "_SHORTEST_PAUSE", 0.01)


@pytest.fixture
def handled(no_handlers: None) -> list[Happening]:
    """What a handler of all types was called with."""
    happenings: list[Happening] = []
    handlers.on("*")(happenings.append)
    return happenings


@pytest.fixture
def connection(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    """Acme's connection; the stand-in's log of calls is empty."""
    made = quick_connect(acme, sandbox, by=alice)
    sandbox.control("DELETE", "log")
    return made


@pytest.fixture
def other(sandbox: Sandbox, charlie: User) -> Connection:
    """Another customer's connection, to another company."""
    made = quick_connect(charlie.memberships.get().customer, sandbox, by=charlie, account=OTHER)
    sandbox.control("DELETE", "log")
    return made

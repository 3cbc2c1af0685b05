"""Fixtures of the tests of calls: a connection, staff, and calls that give up soon."""

import pytest

from accounts.models import Customer, User
from integrations.calls import api_client
from integrations.models import Connection
from tests.support.clients import Sandbox, quick_connect


@pytest.fixture
def connection(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    connection = quick_connect(acme, sandbox, by=alice)
    sandbox.control("DELETE", "log")
    return connection


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_superuser("staff@example.com", "correct horse battery")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "PERSON_WAITS_SECONDS", 0.3)

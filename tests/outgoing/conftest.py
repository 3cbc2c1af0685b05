from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import Customer, User
from integrations.models import WebhookEndpoint
from integrations.outgoing import endpoints

Made = Callable[..., tuple[WebhookEndpoint, str]]


@pytest.fixture
def make(acme: Customer, alice: User) -> Made:
    """Makes an endpoint, of Acme unless told otherwise."""

    def make(**values: Any) -> tuple[WebhookEndpoint, str]:
        defaults: dict[str, Any] = {"url": "https://hooks.example/", "types": ["*"], "customer": acme, "by": alice}
        return endpoints.create(**defaults | values)

    return make

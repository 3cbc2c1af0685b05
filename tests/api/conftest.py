"""Keys, and a client that sends one."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import Customer
from integrations.api import keys
from integrations.models import Connection, Scope


class ApiClient(Client):
    """A system of the operator's: sends its key and JSON, and reads JSON."""

    def __init__(self, key: str) -> None:
        super().__init__(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {key}"} if key else {})

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        sent: dict[str, Any] = (
            {"data": json.dumps(body), "content_type": "application/json"} if body is not None else {}
        )
        return self.generic(method.upper(), f"/api/v1/{path}", query_params=query, **sent)

    def json(self, method: str, path: str, body: Any = None, *, status: int = 200, **query: Any) -> Any:
        answer = self.call(method, path, body, **query)
        assert answer.status_code == status, answer.content
        return answer.json()


Keys = Callable[..., ApiClient]


@pytest.fixture
def api(db: None) -> Keys:
    """A client with a new key: of these scopes (all, if none is named), for this customer or for all."""

    def client(*scopes: Scope, customer: Customer | None = None) -> ApiClient:
        _, plain = keys.issue(name="tests", scopes=scopes or Scope.values, customer=customer, by=None)
        return ApiClient(plain)

    return client


@pytest.fixture
def globex(db: None) -> Customer:
    """Another customer of the operator's."""
    return Customer.objects.create(name="Globex Lettings", external_id="globex-1")


@pytest.fixture
def foreign(globex: Customer) -> Connection:
    return Connection.objects.create(customer=globex, company_id="9001", company_name="Globex Realty")

"""The operations of the API's description, and whether an answer is one of those that stand there."""

import json
import re
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse

from integrations.api import problems
from integrations.api.urls import api
from tests.api.conftest import ApiClient

BACK = "https://app.example/done"
# As clients read it.
DESCRIPTION = json.loads(json.dumps(api.get_openapi_schema()))

# What each operation takes, by its `operationId`.
BODIES: dict[str, Any] = {
    "create_customer": {"name": "Initech", "external_id": "initech-1"},
    "change_customer": {"name": "Initech Homes", "external_id": None},
    "create_session": {"customer": {"external_id": "hooli-1", "name": "Hooli"}, "return_to": BACK},
    "change_connection": {"metadata": {"plan": "gold"}},
    "create_endpoint": {"url": "https://hooks.example/", "types": ["*"], "headers": {"X-A": "a"}},
    "change_endpoint": {"types": ["review.signed"], "description": "Back office", "state": "paused"},
}

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    details: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.details["operationId"])

    @property
    def scope(self) -> str:
        ((scope,),) = (one["ApiKeyBearer"] for one in self.details["security"])
        return str(scope)

    @property
    def is_proxy(self) -> bool:
        return "{path}" in self.path

    @property
    def queries(self) -> dict[str, Any]:
        return {one["name"]: one["schema"] for one in self.details["parameters"] if one["in"] == "query"}

    @property
    def takes(self) -> Any:
        """The schema of its body; None if it takes none."""
        body = self.details.get("requestBody")
        return body and body["content"]["application/json"]["schema"]

    @property
    def resource(self) -> str:
        return self.path.split("/")[3]

    @property
    def body(self) -> bytes:
        return json.dumps(BODIES[self.name]).encode() if self.takes else b""

    def address(self, code: str) -> str:
        return self.path.replace("{code}", code).replace("{id}", code).replace("{path}", "user")


OPERATIONS = [
    Operation(method.upper(), path, details)
    for path, item in DESCRIPTION["paths"].items()
    for method, details in item.items()
]


def valid(schema: Any, value: Any) -> bool:
    """Whether the description accepts this value there."""
    # Its import takes seconds, and every part of the suite imports this file.
    from jsonschema import Draft202012Validator, FormatChecker  # noqa: PLC0415

    formats = FormatChecker(formats=())
    # A format says nothing about values of other types, such as null.
    formats.checks("date-time")(lambda value: not isinstance(value, str) or _TIME.fullmatch(value) is not None)
    whole = {**schema, "components": DESCRIPTION["components"]}
    return bool(Draft202012Validator(whole, format_checker=formats).is_valid(value))


def check(operation: Operation, answer: HttpResponse) -> int:
    """Fails unless the answer is one that the description lists; returns its status."""
    status, kind = answer.status_code, answer.get("Content-Type", "").partition(";")[0]
    where = (operation.name, status, kind, answer.content[:500])
    assert status != 500, where
    responses = operation.details["responses"]
    listed = responses.get(str(status)) or responses.get("default")
    assert listed, where
    if "$ref" in listed:
        listed = DESCRIPTION["components"]["responses"][listed["$ref"].rpartition("/")[2]]
    if kind == problems.CONTENT_TYPE:
        listed = DESCRIPTION["components"]["responses"]["Problem"]
    elif operation.is_proxy:
        assert "Connect-Attempts" in answer, where
        return status
    if "content" not in listed:
        assert not answer.content, where
        return status
    assert kind in listed["content"], where
    if operation.method != "HEAD":
        assert valid(listed["content"][kind]["schema"], json.loads(answer.content)), where
    assert "no-store" in answer["Cache-Control"], where
    assert not answer.cookies, where
    return status


def send(
    client: ApiClient,
    operation: Operation,
    code: str,
    *,
    query: str = "",
    data: bytes | None = None,
    **sent: Any,
) -> Any:
    """One request; without `data`, with the example of its body."""
    body = operation.body if data is None else data
    sent = {"content_type": "application/json", **sent} if body else sent
    return client.generic(operation.method, operation.address(code), data=body, QUERY_STRING=query, **sent)


def escaped(value: bytes | str) -> str:
    raw = value if isinstance(value, bytes) else value.encode()
    return "".join(f"%{byte:02x}" for byte in raw)

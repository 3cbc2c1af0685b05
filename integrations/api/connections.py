"""Connections: how they are, notes of the operator's, *Test connection*, *Disconnect*."""

from datetime import datetime
from typing import Annotated, Any, Literal

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from ninja import Field, Router, Schema

from accounts import audit
from integrations import wording
from integrations.api.access import ApiKeyBearer, caller_of
from integrations.api.paging import page
from integrations.api.problems import NOT_FOUND, Problem
from integrations.api.values import After, Asked, Code, CustomerReference, Limit, Text, Words
from integrations.calls import health_check
from integrations.connecting import disconnection
from integrations.models import Connection, Event, Scope, State
from integrations.models.connections import MOST_TESTS, TESTS_COUNTED_FOR

router = Router(tags=["connections"])
READ, WRITE = ApiKeyBearer(Scope.CONNECTIONS_READ), ApiKeyBearer(Scope.CONNECTIONS_WRITE)
MOST_NOTES, LONGEST_NOTE_NAME = 20, 40

# The names of states, which say what people read on the badges.
STATES = {State(state): state.label.lower().replace(" ", "_") for state in State}
StateName = Literal["connecting", "connected", "having_trouble", "needs_reconnect", "disconnected", "setup_problem"]
_NEWEST = Event.objects.shown().filter(connection=OuterRef("pk")).order_by("-received_at", "-pk")
Metadata = Annotated[
    dict[Annotated[Words, Field(max_length=LONGEST_NOTE_NAME)], Annotated[Text, Field(max_length=100)]],
    Field(max_length=MOST_NOTES, description=f"Up to {MOST_NOTES} short strings by name."),
]


class ConnectionOut(Schema):
    code: str
    customer: CustomerReference
    state: StateName
    company_id: str | None
    name: str
    last_checked_at: datetime | None
    last_event_at: datetime | None
    metadata: dict[str, str]

    @staticmethod
    def resolve_state(connection: Connection) -> str:
        return STATES[State(connection.state)]

    @staticmethod
    def resolve_company_id(connection: Connection) -> str | None:
        return connection.company_id or None

    @staticmethod
    def resolve_name(connection: Connection) -> str:
        return connection.label

    @staticmethod
    def resolve_customer(connection: Connection) -> dict[str, Any]:
        return {"code": connection.customer.code, "external_id": connection.customer.external_id or None}

    @staticmethod
    def resolve_last_checked_at(connection: Connection) -> datetime | None:
        return connection.proved_at

    @staticmethod
    def resolve_metadata(connection: Connection) -> dict[str, str]:
        return connection.metadata or {}


class ConnectionPage(Schema):
    items: list[ConnectionOut]
    next: str | None


class ConnectionChange(Asked):
    metadata: Metadata


class TestResult(Schema):
    ok: bool
    error: str | None = Field(description="Why not: a stable word.")
    detail: str | None
    company_id: str | None
    name: str | None
    seconds: float


class Disconnected(Schema):
    connection: ConnectionOut
    ended_at_snapinspect: bool = Field(description="Whether SnapInspect has confirmed that the access ended there too.")


@router.get("", auth=READ, response=ConnectionPage, url_name="connections")
def list_connections(
    request: HttpRequest,
    *,
    customer: Code | None = None,
    external_id: Words | None = None,
    state: StateName | None = None,
    after: After = "",
    limit: Limit = 50,
) -> dict[str, object]:
    """Connections that the key reaches, oldest first; of a customer by its code or `external_id`, or in a state."""
    rows = _shown(caller_of(request).connections)
    if customer:
        rows = rows.filter(customer__code=customer)
    if external_id:
        rows = rows.filter(customer__external_id=external_id)
    if state:
        rows = rows.filter(state__in=[value for value, name in STATES.items() if name == state])
    items, following = page(rows, after=after, limit=limit)
    return {"items": items, "next": following}


@router.get("/{slug:code}", auth=READ, response=ConnectionOut, url_name="connection")
def read_connection(request: HttpRequest, code: str) -> Connection:
    """One connection."""
    found = _shown(caller_of(request).connections).filter(code=code).first()
    if found is None:
        raise Problem("not-found", NOT_FOUND)
    return found


@router.patch("/{slug:code}", auth=WRITE, response=ConnectionOut, url_name="connection")
def change_connection(request: HttpRequest, code: str, body: ConnectionChange) -> Connection:
    """Replaces the metadata."""
    caller = caller_of(request)
    connection = caller.connection(code)
    with transaction.atomic():
        Connection.objects.filter(pk=connection.pk).update(metadata=body.metadata)
        audit.record(
            "connection.metadata_changed", customer=connection.customer, actor=caller.actor, subject=connection.code
        )
    return read_connection(request, code)


@router.post("/{slug:code}/test", auth=WRITE, response=TestResult, url_name="connection_test")
def test_connection(request: HttpRequest, code: str) -> dict[str, object]:
    """Calls SnapInspect at once, and says what it answered."""
    caller = caller_of(request)
    found = health_check.test(caller.connection(code), by=caller.actor)
    if found is None:
        minute = round(TESTS_COUNTED_FOR.total_seconds())
        raise Problem(
            "too-many-requests",
            f"A connection is tested {MOST_TESTS} times a minute at most. Wait as Retry-After says.",
            headers={"Retry-After": str(minute)},
        )
    if found.error_kind == "busy":
        raise Problem("unavailable", wording.trouble("busy"), headers={"Retry-After": "5"})
    return {
        "ok": found.succeeded,
        "error": found.error_kind or None,
        "detail": wording.trouble(found.error_kind) if found.error_kind else None,
        "company_id": found.company_id or None,
        "name": found.name or None,
        "seconds": found.duration.total_seconds(),
    }


@router.post("/{slug:code}/disconnect", auth=WRITE, response=Disconnected, url_name="connection_disconnect")
def disconnect_connection(request: HttpRequest, code: str) -> dict[str, object]:
    """Ends the access at SnapInspect, if it answers, and erases it here in any case."""
    caller = caller_of(request)
    ended = disconnection.disconnect(caller.connection(code), by=caller.actor)
    return {"connection": read_connection(request, code), "ended_at_snapinspect": ended}


def _shown(connections: "QuerySet[Connection]") -> "QuerySet[Connection]":
    return connections.annotate(last_event_at=Subquery(_NEWEST.values("received_at")[:1]))  # type: ignore[no-redef]

"""All data of a customer, as JSON lines (https://jsonlines.org), in constant memory.

Each line is an object with its `kind`. The first, `export`, names the customer and the time; the last, `end`, has the
number of lines before it, so a file without it was cut off. Secrets, their hashes and internal state are left out.
Fields are listed one by one, so that a new column is exported only after somebody has decided that it may be.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, F, Model, QuerySet, When
from django.db.models.functions import Length
from django.utils import timezone

from accounts.models import AuditEntry, Customer, Invitation, Membership
from integrations.models import (
    ApiKey,
    Attempt,
    ConnectAttempt,
    Connection,
    ConnectionTest,
    ConnectLink,
    ConnectSession,
    Delivery,
    DeliveryTry,
    Event,
    EventDelivery,
    ExplorerCall,
    HandlerRun,
    OutgoingDelivery,
    OutgoingMessage,
    PanelAnswer,
    Replay,
    Resend,
    TokenPair,
    WebhookAddress,
    WebhookEndpoint,
)

FORMAT = 1
BATCH = 100  # rows that are read at a time
# Bytes. Longer contents of events are read one by one: an answer of SnapInspect may have 10 MB. Other rows are smaller.
MAX_CONTENT_IN_BATCH = 64 * 1024

Fields = dict[str, str]


def _fields(*same: str, **paths: str) -> Fields:
    """Names in the export with the lookup of their value; `same` are names that are also lookups."""
    return {**{name: name for name in same}, **paths}


@dataclass(frozen=True)
class Kind:
    name: str
    model: type[Model]
    owner: str  # the lookup that selects the rows of a customer, or of some events
    fields: Fields

    def rows(self, owner: Any) -> "QuerySet[Any]":
        return self.model._default_manager.filter(**{self.owner: owner})


KINDS = [
    Kind(
        "member", Membership, "customer",
        _fields("role", "trouble_mails", "daily_digest", email="user__email", since="created_at"),
    ),
    Kind(
        "invitation", Invitation, "customer",
        _fields(
            "email", "role", "created_at", "expires_at", "accepted_at", "withdrawn_at", invited_by="invited_by__email"
        ),
    ),
    Kind(
        "connection", Connection, "customer",
        _fields(
            "code", "state", "company_id", "company_name", "own_name", "account_name", "account_email", "created_at",
            "connected_at", "proved_at", "metadata", "state_since", "error_kind", "incident_since",
            way="kind", connected_by="connected_by__email",
        ),
    ),
    Kind(
        "token pair", TokenPair, "connection__customer",
        _fields(
            "role", "fingerprint", "received_at", "exchanged_at", "proved_at", "profile", "error_kind",
            connection="connection__code", brought_by="brought_by__email",
        ),
    ),
    Kind(
        "webhook address", WebhookAddress, "connection__customer",
        _fields("created_at", "valid_until", connection="connection__code"),
    ),
    Kind(
        "attempt to connect", ConnectAttempt, "customer",
        _fields("issued_at", "used_at", "outcome", "fingerprint", by="user__email", connection="connection__code"),
    ),
    Kind(
        "connect session", ConnectSession, "customer",
        _fields("code", "created_at", "status", "return_to", connection="connection__code"),
    ),
    Kind(
        "API key", ApiKey, "customer",
        _fields(
            "name", "prefix", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at",
            created_by="created_by__email",
        ),
    ),
    Kind(
        "link for a colleague", ConnectLink, "customer",
        _fields(
            "created_at", "used_at",
            made_by="made_by__email", used_by="used_by__email", connection="connection__code",
        ),
    ),
    Kind(
        "test", ConnectionTest, "connection__customer",
        _fields(
            "at", "error_kind", "duration", "company_id", "name", "answer",
            by="by__email", connection="connection__code",
        ),
    ),
    Kind(
        "panel", PanelAnswer, "connection__customer",
        _fields(
            "table", "fetched_at", "error_kind", "status",
            title="panel__title", path="panel__path", connection="connection__code",
        ),
    ),
    Kind(
        "call of the explorer", ExplorerCall, "customer",
        _fields(
            "at", "path", "status", "error_kind", "duration", "size", by="by__email", connection="connection__code"
        ),
    ),
    Kind(
        "replay", Replay, "customer",
        _fields(
            "code", "selection", "matched", "replayed", "skipped", "started_at", "finished_at", "is_cancelled",
            by="by__email", cancelled_by="cancelled_by__email",
        ),
    ),
    Kind(
        "webhook endpoint", WebhookEndpoint, "customer",
        _fields(
            "code", "url", "types", "description", "state", "off_reason", "state_since", "created_at",
            "header_names", "delivered_at", "failing_since", "old_secret_until", created_by="created_by__email",
        ),
    ),
    Kind("outgoing message", OutgoingMessage, "customer", _fields("code", "type", "created_at", "body")),
    # To the customer's own endpoints.
    Kind(
        "outgoing delivery", OutgoingDelivery, "endpoint__customer",
        _fields("code", "state", "tries", "delivered_at", endpoint="endpoint__code", message="message__code"),
    ),
    Kind(
        "outgoing try", DeliveryTry, "delivery__endpoint__customer",
        _fields(
            "at", "error_kind", "status", "duration", "answer_headers", "answer", delivery="delivery__code"
        ),
    ),
    Kind(
        "resend", Resend, "endpoint__customer",
        _fields(
            "code", "since", "with_delivered", "matched", "resent", "started_at", "finished_at", "is_cancelled",
            by="by__email", cancelled_by="cancelled_by__email", endpoint="endpoint__code",
        ),
    ),
    Kind(
        "audit entry", AuditEntry, "customer",
        _fields("at", "subject", "detail", what="kind", who="actor_name"),
    ),
]  # fmt: skip

EVENT = _fields(
    "code", "state", "type", "inspection_id", "review_id", "company_id", "received_at", "finished_at", "attempts",
    "last_error_kind", "proof", "fetched_at", "inspection_title", "inspection_status",
    "previous_status", "recovered", "replays",
    connection="connection__code", repeats="repeat_of__code",
)  # fmt: skip
DELIVERY = _fields(
    "received_at", "content_type", "body", "state", "problem", "type", "inspection_id", "review_id", "company_id"
)
# Rows that belong to events.
OF_AN_EVENT = [
    Kind("delivery", EventDelivery, "event__in", {name: f"delivery__{path}" for name, path in DELIVERY.items()}),
    Kind("try", Attempt, "event__in", _fields("at", "error_kind", "status", "duration", "handler")),
    Kind("handler", HandlerRun, "event__in", _fields("handler", "done_at")),
]


def lines(customer: Customer) -> Iterator[str]:
    """The lines of the export. No transaction is open in between: rows may change meanwhile."""
    count = 0
    for row in _objects(customer):
        count += 1
        # ASCII: SQLite may hold a lone surrogate from an answer of SnapInspect, which UTF-8 cannot encode.
        yield f"{json.dumps(row, default=_plain)}\n"
    yield f"{json.dumps({'kind': 'end', 'lines': count})}\n"


def _objects(customer: Customer) -> Iterator[dict[str, Any]]:
    yield {
        "kind": "export",
        "format": FORMAT,
        "made_at": timezone.now(),
        "code": customer.code,
        "name": customer.name,
        "external_id": customer.external_id,
        "created_at": customer.created_at,
    }
    for kind in KINDS:
        for _, row in _rows(kind.rows(customer), kind.fields):
            yield {"kind": kind.name, **row}
    for connection in customer.connections.order_by("pk").values_list("pk", flat=True):
        yield from _events(connection)
        own = Delivery.objects.filter(connection=connection).exclude(events__connection__customer=customer)
        for _, row in _rows(own, DELIVERY):
            yield {"kind": "delivery", "event": None, **row}


def _events(connection: int) -> Iterator[dict[str, Any]]:
    """A connection's events, oldest first, each batch followed by the rows that belong to it; read along an index."""
    short = Case(When(length__lte=MAX_CONTENT_IN_BATCH, then=F("content")))
    events = Event.objects.filter(connection=connection).order_by("received_at", "pk")
    events = events.annotate(length=Length("content"), short=short)
    moment, after = None, 0
    while True:
        batch = events.filter(received_at__gte=moment).exclude(received_at=moment, pk__lte=after) if moment else events
        found = list(batch.values_list("pk", "short", *EVENT.values())[:BATCH])
        if not found:
            return
        codes = {}
        for pk, content, *values in found:
            row = dict(zip(EVENT, values, strict=True))
            codes[pk], moment, after = row["code"], row["received_at"], pk
            yield {"kind": "event", **row, "content": _content(pk) if content is None else content}
        for kind in OF_AN_EVENT:
            for event, row in _rows(kind.rows(codes), kind.fields, of="event"):
                yield {"kind": kind.name, "event": codes[event], **row}


def _content(event: int) -> str | None:
    return Event.objects.filter(pk=event).values_list("content", flat=True).first()


def _rows(rows: "QuerySet[Any]", fields: Fields, *, of: str = "pk") -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yields for each row the value of `of`, and its fields; read in batches, ordered by key."""
    after = 0
    while batch := list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", of, *fields.values())[:BATCH]):
        for _, whose, *values in batch:
            yield whose, _with_text_body(dict(zip(fields, values, strict=True)))
        after = batch[-1][0]


def _with_text_body(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its bytes as text; as `body_base64` where they are not UTF-8."""
    if not isinstance(row.get("body"), bytes | memoryview):
        return row
    body = bytes(row.pop("body"))
    try:
        return {**row, "body": body.decode()}
    except UnicodeDecodeError:
        return {**row, "body_base64": base64.b64encode(body).decode()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} cannot be exported.")

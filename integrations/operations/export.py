"""Everything that is kept for a customer, as lines of JSON (https://jsonlines.org), in constant memory.

Each line is an object with its `kind`. The first says whose export it is and when it was made, the last one, `end`, how
many lines stand before it: a file without it was cut off. What is not in it is a secret, its hash, or machinery; fields
are listed one by one, so that a new column is not handed out before somebody has decided that it may be.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, F, QuerySet, When
from django.db.models.functions import Length
from django.utils import timezone

from accounts.models import AuditEntry, Customer, Invitation, Membership
from integrations.models import (
    Attempt,
    ConnectAttempt,
    Connection,
    ConnectionTest,
    ConnectLink,
    Delivery,
    Event,
    EventDelivery,
    ExplorerCall,
    HandlerRun,
    PanelAnswer,
    Replay,
    TokenPair,
    WebhookAddress,
)

FORMAT = 1
# Rows that are read at a time. None has more than 64 KiB, except for the content of an event: what is longer is read
# by itself, since SnapInspect may answer with 10 MB.
STEP = 100
SHORT = 64 * 1024

Fields = dict[str, str]


def _fields(*same: str, **paths: str) -> Fields:
    """Names in the export and where they are read: `same` where both are one."""
    return {**{name: name for name in same}, **paths}


@dataclass(frozen=True)
class Kind:
    name: str
    rows: Callable[[Any], "QuerySet[Any]"]  # those of a customer
    fields: Fields


KINDS = [
    Kind(
        "member",
        lambda customer: Membership.objects.filter(customer=customer),
        _fields("role", "trouble_mails", "daily_digest", email="user__email", since="created_at"),
    ),
    Kind(
        "invitation",
        lambda customer: Invitation.objects.filter(customer=customer),
        _fields(
            "email", "role", "created_at", "expires_at", "accepted_at", "withdrawn_at", invited_by="invited_by__email"
        ),
    ),
    Kind(
        "connection",
        lambda customer: Connection.objects.filter(customer=customer),
        _fields(
            "code", "state", "company_id", "company_name", "own_name", "account_name", "account_email", "created_at",
            "connected_at", "proved_at", "state_since", "error_kind", "incident_since",
            way="kind", connected_by="connected_by__email",
        ),
    ),
    Kind(
        "token pair",  # that there is one, never what it is
        lambda customer: TokenPair.objects.filter(connection__customer=customer),
        _fields(
            "role", "fingerprint", "received_at", "exchanged_at", "proved_at", "profile", "error_kind",
            connection="connection__code", brought_by="brought_by__email",
        ),
    ),
    Kind(
        "webhook address",
        lambda customer: WebhookAddress.objects.filter(connection__customer=customer),
        _fields("created_at", "valid_until", connection="connection__code"),
    ),
    Kind(
        "attempt to connect",
        lambda customer: ConnectAttempt.objects.filter(customer=customer),
        _fields("issued_at", "used_at", "outcome", by="user__email", connection="connection__code"),
    ),
    Kind(
        "link for a colleague",
        lambda customer: ConnectLink.objects.filter(customer=customer),
        _fields(
            "created_at", "used_at",
            made_by="made_by__email", used_by="used_by__email", connection="connection__code",
        ),
    ),
    Kind(
        "test",
        lambda customer: ConnectionTest.objects.filter(connection__customer=customer),
        _fields(
            "at", "error_kind", "duration", "company_id", "name", "answer",
            by="by__email", connection="connection__code",
        ),
    ),
    Kind(
        "panel",
        lambda customer: PanelAnswer.objects.filter(connection__customer=customer),
        _fields(
            "table", "fetched_at", "error_kind", "status",
            title="panel__title", path="panel__path", connection="connection__code",
        ),
    ),
    Kind(
        "call of the explorer",
        lambda customer: ExplorerCall.objects.filter(customer=customer),
        _fields(
            "at", "path", "status", "error_kind", "duration", "size", by="by__email", connection="connection__code"
        ),
    ),
    Kind(
        "replay",
        lambda customer: Replay.objects.filter(customer=customer),
        _fields(
            "code", "selection", "matched", "replayed", "skipped", "started_at", "finished_at", "is_cancelled",
            by="by__email", cancelled_by="cancelled_by__email",
        ),
    ),
    Kind(
        "audit entry",
        lambda customer: AuditEntry.objects.filter(customer=customer),
        _fields("at", "subject", "detail", what="kind", who="actor_name"),
    ),
]  # fmt: skip

EVENT = _fields(
    "code", "state", "type", "inspection_id", "review_id", "company_id", "received_at", "finished_at", "attempts",
    "last_error_kind", "proof", "fetched_at", "recovered", "replays",
    connection="connection__code", repeats="repeat_of__code",
)  # fmt: skip
DELIVERY = _fields(
    "received_at", "content_type", "body", "state", "problem", "type", "inspection_id", "review_id", "company_id"
)
# What hangs on an event: its rows, by the events they are of.
OF_AN_EVENT = [
    Kind(
        "delivery",
        lambda events: EventDelivery.objects.filter(event__in=events),
        {name: f"delivery__{path}" for name, path in DELIVERY.items()},
    ),
    Kind(
        "try",
        lambda events: Attempt.objects.filter(event__in=events),
        _fields("at", "error_kind", "status", "duration", "handler"),
    ),
    Kind(
        "handler",
        lambda events: HandlerRun.objects.filter(event__in=events),
        _fields("handler", "done_at"),
    ),
]


def lines(customer: Customer) -> Iterator[str]:
    """The export, line by line. No transaction is open in between: rows that change meanwhile are in it as they are."""
    count = 0
    for row in _objects(customer):
        count += 1
        # ASCII: an answer of SnapInspect's may hold half a character (a lone surrogate; PostgreSQL refuses it, SQLite
        # does not), and UTF-8 cannot.
        yield f"{json.dumps(row, default=_plain)}\n"
    yield f"{json.dumps({'kind': 'end', 'lines': count})}\n"


def _objects(customer: Customer) -> Iterator[dict[str, Any]]:
    yield {
        "kind": "export",
        "format": FORMAT,
        "made_at": timezone.now(),
        "code": customer.code,
        "name": customer.name,
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
    """A connection's events, the oldest first, each batch with what hangs on them; read along an index."""
    short = Case(When(length__lte=SHORT, then=F("content")))
    events = Event.objects.filter(connection=connection).order_by("received_at", "pk")
    events = events.annotate(length=Length("content"), short=short)
    moment, after = None, 0
    while True:
        step = events.filter(received_at__gte=moment).exclude(received_at=moment, pk__lte=after) if moment else events
        found = list(step.values_list("pk", "short", *EVENT.values())[:STEP])
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
    """Each row by its fields, with what `of` says beside it; read in steps, by their key."""
    after = 0
    while step := list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", of, *fields.values())[:STEP]):
        for _, whose, *values in step:
            yield whose, _readable(dict(zip(fields, values, strict=True)))
        after = step[-1][0]


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """A body as text where it is text, else as `body_base64`."""
    if "body" not in row:
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
    raise TypeError(f"Nobody has said how {type(value).__name__} is exported.")

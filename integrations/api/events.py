"""Events: what happened at SnapInspect, oldest first for systems that follow them, and *Replay*.

The list is in the order of the rows' keys, and that is the order in which they become visible: whoever makes events
holds the lock `routing.LOCK` until its transaction ends. So a cursor never passes an event that is committed later.
"""

import json
from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Field, Router, Schema

from integrations.api.access import ApiKeyBearer, Caller, caller_of
from integrations.api.paging import page_of_values
from integrations.api.problems import NOT_FOUND, Problem
from integrations.api.values import After, Code, Limit, Words
from integrations.events import event_actions
from integrations.events.public_types import OTHER, RAW_TYPES, public_type
from integrations.models import Event, Scope, State

router = Router(tags=["events"])
READ, WRITE = ApiKeyBearer(Scope.EVENTS_READ), ApiKeyBearer(Scope.EVENTS_WRITE)

TypeName = Literal["inspection.created", "inspection.status_changed", "review.created", "review.signed", "event.other"]
StateName = Literal["received", "processing", "retrying", "done", "failed", "unmatched", "ignored"]


class EventOut(Schema):
    code: str
    connection: str
    type: TypeName
    raw_type: str = Field(description="SnapInspect's own name of the type.")
    state: StateName
    verified: bool = Field(description="Whether SnapInspect has confirmed it. A webhook alone is not signed.")
    inspection_id: str | None
    review_id: str | None
    company_id: str | None
    received_at: datetime
    content: Any = Field(description="What SnapInspect answered about the inspection. Always null in lists.")


# Of a row, in the order of the arguments of `_event`.
COLUMNS = (
    *("code", "connection__code", "type", "state", "proof", "inspection_id", "review_id", "company_id"),
    "received_at",
)


def _event(values: tuple[Any, ...], content: str | None = None) -> dict[str, Any]:
    """An event as EventOut describes it, for JSON."""
    code, connection, raw_type, state, proof, inspection_id, review_id, company_id, received_at = values
    return {
        "code": code,
        "connection": connection,
        "type": public_type(raw_type),
        "raw_type": raw_type,
        "state": state,
        "verified": proof == Event.Proof.VERIFIED,
        "inspection_id": inspection_id or None,
        "review_id": review_id or None,
        "company_id": company_id or None,
        "received_at": received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "content": json.loads(content) if content else None,
    }


class EventPage(Schema):
    items: list[EventOut]
    next: str | None
    cursor: str | None = Field(description="The `after` of what comes later, at the end of the list, too.")


@router.get("", auth=READ, response=EventPage, url_name="events")
def list_events(
    request: HttpRequest,
    *,
    connection: Code | None = None,
    customer: Code | None = None,
    type: TypeName | None = None,
    state: StateName | None = None,
    inspection_id: Words | None = None,
    after: After = "",
    limit: Limit = 50,
) -> HttpResponse:
    """Events that the key reaches, oldest first; of a connection, a customer, a type, a state or an inspection."""
    caller = caller_of(request)
    rows = caller.events
    if connection or customer or caller.key.customer_id:
        theirs = caller.connections
        if connection:
            theirs = theirs.filter(code=connection)
        if customer:
            theirs = theirs.filter(customer__code=customer)
        # By their numbers: PostgreSQL knows which connections have few events, and would otherwise look for these among
        # everybody's, in the order of the list.
        rows = Event.objects.filter(connection__in=list(theirs.values_list("pk", flat=True))).order_by("pk")
    if type == OTHER:
        rows = rows.exclude(type__in=RAW_TYPES.values())
    elif type:
        rows = rows.filter(type=RAW_TYPES[type])
    if state:
        rows = rows.filter(state=state)
    if inspection_id:
        rows = rows.filter(inspection_id=inspection_id)
    found, following, cursor = page_of_values(rows, COLUMNS, after=after, limit=limit)
    # Not through EventOut: checking a hundred events that were made here takes longer than all else.
    return JsonResponse({"items": [_event(values) for values in found], "next": following, "cursor": cursor})


@router.get("/{slug:code}", auth=READ, response=EventOut, url_name="event")
def read_event(request: HttpRequest, code: str) -> dict[str, Any]:
    """One event, with what SnapInspect answered about its inspection."""
    return _whole(caller_of(request), code)


@router.post("/{slug:code}/replay", auth=WRITE, response=EventOut, url_name="event_replay")
def replay_event(request: HttpRequest, code: str) -> dict[str, Any]:
    """Has a finished event processed again."""
    caller = caller_of(request)
    event = caller.event(code)
    if event.connection.state == State.DISCONNECTED:
        raise Problem("conflict", "This event's connection is disconnected. Connect again first.")
    if not event_actions.replay(event, by=caller.actor):
        raise Problem("conflict", "This event is being processed already. Read it again later.")
    return _whole(caller, code)


def _whole(caller: Caller, code: str) -> dict[str, Any]:
    values = caller.events.filter(code=code).values_list(*COLUMNS, "content").first()
    if values is None:
        raise Problem("not-found", NOT_FOUND)
    *columns, content = values
    return _event(tuple(columns), content)

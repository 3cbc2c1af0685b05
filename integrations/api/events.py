"""Events: what happened at SnapInspect, oldest first for systems that follow them, and *Replay*.

The list is in the order of the rows' keys, and that is the order in which they become visible: whoever makes events
holds the lock `routing.LOCK` until its transaction ends. So a cursor never passes an event that is committed later.
"""

import json
from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Field, Router, Schema

from integrations.api.access import ApiKeyBearer, caller_of
from integrations.api.paging import cursor_after, page
from integrations.api.problems import Problem
from integrations.api.values import After, Code, Limit, Text
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

    @staticmethod
    def resolve_connection(event: Event) -> str:
        return event.connection.code

    @staticmethod
    def resolve_type(event: Event) -> str:
        return public_type(event.type)

    @staticmethod
    def resolve_raw_type(event: Event) -> str:
        return event.type

    @staticmethod
    def resolve_verified(event: Event) -> bool:
        return event.proof == Event.Proof.VERIFIED

    @staticmethod
    def resolve_inspection_id(event: Event) -> str | None:
        return event.inspection_id or None

    @staticmethod
    def resolve_review_id(event: Event) -> str | None:
        return event.review_id or None

    @staticmethod
    def resolve_company_id(event: Event) -> str | None:
        return event.company_id or None

    @staticmethod
    def resolve_content(event: Event) -> Any:
        return None


class WholeEvent(EventOut):
    @staticmethod
    def resolve_content(event: Event) -> Any:
        return json.loads(event.content) if event.content else None


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
    inspection_id: Text = "",
    after: After = "",
    limit: Limit = 50,
) -> dict[str, object]:
    """Events that the key reaches, oldest first; of a connection, a customer, a type, a state or an inspection."""
    rows = caller_of(request).events
    if connection:
        rows = rows.filter(connection__code=connection)
    if customer:
        rows = rows.filter(connection__customer__code=customer)
    if type == OTHER:
        rows = rows.exclude(type__in=RAW_TYPES.values())
    elif type:
        rows = rows.filter(type=RAW_TYPES[type])
    if state:
        rows = rows.filter(state=state)
    if inspection_id:
        rows = rows.filter(inspection_id=inspection_id)
    items, following = page(rows.defer("content"), after=after, limit=limit)
    return {"items": items, "next": following, "cursor": cursor_after(items) if items else after or None}


@router.get("/{slug:code}", auth=READ, response=WholeEvent, url_name="event")
def read_event(request: HttpRequest, code: str) -> Event:
    """One event, with what SnapInspect answered about its inspection."""
    return caller_of(request).event(code)


@router.post("/{slug:code}/replay", auth=WRITE, response=WholeEvent, url_name="event_replay")
def replay_event(request: HttpRequest, code: str) -> Event:
    """Has a finished event processed again."""
    caller = caller_of(request)
    event = caller.event(code)
    if event.connection.state == State.DISCONNECTED:
        raise Problem("conflict", "This event's connection is disconnected. Connect again first.")
    if not event_actions.replay(event, by=caller.actor):
        raise Problem("conflict", "This event is being processed already. Read it again later.")
    return caller.event(code)

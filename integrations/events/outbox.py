"""Messages to webhook endpoints about events that are finished."""

import json
from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.urls import reverse

from integrations.events.public_types import public_type
from integrations.models import Connection, Event, OutgoingMessage, WebhookEndpoint

# Bytes. What SnapInspect answered is left out of the message when it is longer.
MOST_CONTENT = 64 * 1024
# A handler that failed is the operator's: SnapInspect has confirmed the event all the same.
FINISHED = Q(state=Event.State.DONE) | Q(state=Event.State.FAILED, last_error_kind="handler_failed")


def write(connection: Connection, event_ids: Sequence[int]) -> None:
    """Writes messages about those of these events that are finished now. In the transaction that finished them.

    None for events that failed otherwise or that belong to another company: SnapInspect has not confirmed these.
    """
    endpoints = WebhookEndpoint.objects.hearing_of(connection.customer_id)
    if not endpoints:
        return
    events = Event.objects.filter(FINISHED, pk__in=event_ids).order_by("received_at", "pk")
    OutgoingMessage.objects.write(
        [(public_type(event.type), _data(event, connection)) for event in events],
        customer_id=connection.customer_id,
        endpoints=endpoints,
    )


def _data(event: Event, connection: Connection) -> str:
    """What a message says about the event, as JSON; its members have the names that they have in the API."""
    customer = connection.customer
    data: dict[str, Any] = {
        "event": event.code,
        "customer": {"code": customer.code, "external_id": customer.external_id or None},
        "connection": connection.code,
        "company_id": event.company_id or connection.company_id or None,
        "inspection_id": event.inspection_id or None,
        "review_id": event.review_id or None,
        "raw_type": event.type,
        "verified": event.proof == Event.Proof.VERIFIED,
        "received_at": event.received_at.isoformat(),
        "api_path": reverse("api:event", args=[event.code]),
    }
    # The content is JSON already.
    content = event.content if 0 < len(event.content.encode()) <= MOST_CONTENT else "null"
    return f'{json.dumps(data)[:-1]}, "content": {content}}}'

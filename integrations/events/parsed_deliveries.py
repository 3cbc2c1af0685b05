"""A delivery whose body was read."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime

from integrations.models import Delivery
from integrations.snapinspect import webhook_body
from integrations.snapinspect.webhook_body import Hint, Unreadable


@dataclass(slots=True)
class ParsedDelivery:
    """A delivery whose body was read: its new state, and the connections that it belongs to.

    parts: the bodies of its events, when there are several.
    """

    pk: int
    address: int | None
    assigned: int | None
    received_at: datetime
    body_sha256: str
    hint: Hint
    state: str = Delivery.State.PLACED
    problem: str = ""
    connections: list[int] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)


def parse(
    pk: int, address: int | None, assigned: int | None, received_at: datetime, body: bytes | memoryview
) -> ParsedDelivery:
    """The delivery of this row: quarantined when its body cannot be read, unless staff have said whose it is."""
    raw = bytes(body)
    parsed = ParsedDelivery(pk, address, assigned, received_at, hashlib.sha256(raw).hexdigest(), Hint())
    try:
        events = webhook_body.read(raw)
        if len(events) > 1:
            parsed.parts = [json.dumps(event).encode() for event in events]
        else:
            parsed.hint = webhook_body.hint(events[0], is_addressed=address is not None)
    except Unreadable as unreadable:
        parsed.problem = unreadable.problem
        if assigned is None:
            parsed.state = Delivery.State.QUARANTINED
    return parsed

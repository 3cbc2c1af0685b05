"""A delivery whose body was read."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from integrations.models import Delivery
from integrations.snapinspect import webhook_body
from integrations.snapinspect.webhook_body import Hint, Unreadable


@dataclass(slots=True)
class ParsedDelivery:
    """A delivery whose body was read: its new state, and the connections that it belongs to."""

    pk: int
    address: int | None
    assigned: int | None
    received_at: datetime
    body_sha256: str
    hint: Hint
    state: str = Delivery.State.PLACED
    problem: str = ""
    connections: list[int] = field(default_factory=list)


def parse(
    pk: int, address: int | None, assigned: int | None, received_at: datetime, body: bytes | memoryview
) -> ParsedDelivery:
    """The delivery of this row: quarantined when its body cannot be read."""
    raw = bytes(body)
    parsed = ParsedDelivery(pk, address, assigned, received_at, hashlib.sha256(raw).hexdigest(), Hint())
    try:
        parsed.hint = webhook_body.read(raw)
    except Unreadable as unreadable:
        parsed.state, parsed.problem = Delivery.State.QUARANTINED, unreadable.problem
    return parsed

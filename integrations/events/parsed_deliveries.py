"""A delivery whose body was read."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from integrations.models import Delivery
from integrations.snapinspect import webhook_body
from integrations.snapinspect.webhook_body import Hint, Unreadable


@dataclass(slots=True)
class ParsedDelivery:
    """A delivery whose body was read: its new state, and the connections that it belongs to.

    parts: the bodies of its events, when there are several. refused_by: connections that have too many events.
    """

    pk: int
    address: int | None
    assigned: int | None
    received_at: datetime
    size: int
    body_sha256: str
    hint: Hint
    state: str = Delivery.State.PLACED
    problem: str = ""
    connections: list[int] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    refused_by: list[int] = field(default_factory=list)


def parse(
    pk: int, address: int | None, assigned: int | None, received_at: datetime, body: bytes | memoryview
) -> ParsedDelivery:
    """The delivery of this row: quarantined when its body cannot be read, unless staff have said whose it is."""
    raw = bytes(body)
    parsed = ParsedDelivery(pk, address, assigned, received_at, len(raw), hashlib.sha256(raw).hexdigest(), Hint())
    try:
        hints = webhook_body.read(raw)
    except Unreadable as unreadable:
        hints, parsed.problem = [Hint()], unreadable.problem
    if len(hints) > 1:
        parsed.parts = [hint.source.encode() for hint in hints]
        return parsed
    (parsed.hint,) = hints
    if address is None and not parsed.hint.company_id and parsed.hint.problem == "bad_company_id":
        parsed.problem = parsed.hint.problem
    if parsed.problem and assigned is None:
        parsed.state = Delivery.State.QUARANTINED
    return parsed

"""Makes events by the thousand."""

from datetime import UTC, datetime, timedelta
from typing import Any

from integrations.models import Connection, Event

# When the newest of these events was received; the others came a minute apart.
LAST = datetime(2026, 11, 20, 12, tzinfo=UTC)


def make_events(connection: Connection, count: int, **fields: Any) -> list[Event]:
    """Events of this connection, the oldest first; `fields` go to all of them."""
    made = [
        Event(
            connection=connection,
            **{
                "type": "Create_Inspection",
                "inspection_id": str(1000 + number),
                "state": Event.State.DONE,
                "received_at": LAST - timedelta(minutes=count - 1 - number),
                **fields,
            },
        )
        for number in range(count)
    ]
    return Event.objects.bulk_create(made)

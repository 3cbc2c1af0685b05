"""The types of messages that endpoints can ask for."""

from integrations.events import public_types

TEST = "endpoint.test"
# Each with what has happened, for people who choose.
TYPES = {
    "inspection.created": "An inspection was uploaded",
    "inspection.status_changed": "An inspection’s status has changed",
    "review.created": "A review was created",
    "review.signed": "A review was signed",
    public_types.OTHER: "Another event of SnapInspect’s",
    "connection.connected": "A connection was made",
    "connection.needs_reconnect": "A connection needs a person to reconnect",
    "connection.working_again": "A connection works again",
    "connection.disconnected": "A connection was disconnected",
}

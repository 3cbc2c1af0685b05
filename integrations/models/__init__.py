"""A customer's link to SnapInspect: rows and their transitions. No HTTP here, no cryptography."""

from integrations.models.connections import (
    SETUP_ERRORS,
    Breaker,
    Check,
    ConnectAttempt,
    Connection,
    Kind,
    Notice,
    State,
    TokenPair,
)
from integrations.models.events import Attempt, Event, EventDelivery, HandlerRun, Lane, ProbeLimit, Turn
from integrations.models.inbox import Delivery, WebhookAddress

__all__ = [
    "SETUP_ERRORS",
    "Attempt",
    "Breaker",
    "Check",
    "ConnectAttempt",
    "Connection",
    "Delivery",
    "Event",
    "EventDelivery",
    "HandlerRun",
    "Kind",
    "Lane",
    "Notice",
    "ProbeLimit",
    "State",
    "TokenPair",
    "Turn",
    "WebhookAddress",
]

"""A customer's link to SnapInspect: rows and their transitions. No HTTP here, no cryptography."""

from integrations.models.circuit_breaker import Breaker
from integrations.models.connect_attempts import ConnectAttempt, Purpose
from integrations.models.connect_links import ConnectLink
from integrations.models.connection_states import SETUP_ERRORS, USABLE, Kind, Notice, State
from integrations.models.connection_tests import Check
from integrations.models.connections import Connection, TokenPair
from integrations.models.deliveries import Delivery, WebhookAddress
from integrations.models.events import Attempt, Event, EventDelivery, HandlerRun, Lane, ProbeLimit, Turn
from integrations.models.panels import ExplorerAnswer, ExplorerCall, Panel, PanelAnswer
from integrations.models.replays import Replay
from integrations.models.sign_ins import Introduction, LinkedUser, Outcome
from integrations.models.workers import Worker

__all__ = [
    "SETUP_ERRORS",
    "USABLE",
    "Attempt",
    "Breaker",
    "Check",
    "ConnectAttempt",
    "ConnectLink",
    "Connection",
    "Delivery",
    "Event",
    "EventDelivery",
    "ExplorerAnswer",
    "ExplorerCall",
    "HandlerRun",
    "Introduction",
    "Kind",
    "Lane",
    "LinkedUser",
    "Notice",
    "Outcome",
    "Panel",
    "PanelAnswer",
    "ProbeLimit",
    "Purpose",
    "Replay",
    "State",
    "TokenPair",
    "Turn",
    "WebhookAddress",
    "Worker",
]

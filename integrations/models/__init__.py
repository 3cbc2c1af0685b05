"""A customer's link to SnapInspect: rows and their transitions. No HTTP here, no cryptography."""

from integrations.models.api_keys import ApiKey, Scope
from integrations.models.connect_attempts import ConnectAttempt, Purpose
from integrations.models.connect_links import ConnectLink
from integrations.models.connect_sessions import ConnectSession
from integrations.models.connection_states import SETUP_ERRORS, USABLE, Kind, Notice, State
from integrations.models.connection_tests import ConnectionTest
from integrations.models.connections import Connection
from integrations.models.deliveries import Delivery, WebhookAddress
from integrations.models.event_queues import EventQueue, LookupLimit
from integrations.models.events import Attempt, Event, EventDelivery, HandlerRun
from integrations.models.exchange_status import ExchangeStatus
from integrations.models.guest_tokens import GuestTokenPair, LinkedUser, SignInOutcome
from integrations.models.named_locks import NamedLock
from integrations.models.outgoing import DeliveryTry, OutgoingDelivery, OutgoingMessage, Resend
from integrations.models.panels import ExplorerAnswer, ExplorerCall, Panel, PanelAnswer
from integrations.models.replays import Replay
from integrations.models.token_pairs import SealedPair, TokenPair
from integrations.models.webhook_endpoints import WebhookEndpoint
from integrations.models.workers import Worker

__all__ = [
    "SETUP_ERRORS",
    "USABLE",
    "ApiKey",
    "Attempt",
    "ConnectAttempt",
    "ConnectLink",
    "ConnectSession",
    "Connection",
    "ConnectionTest",
    "Delivery",
    "DeliveryTry",
    "Event",
    "EventDelivery",
    "EventQueue",
    "ExchangeStatus",
    "ExplorerAnswer",
    "ExplorerCall",
    "GuestTokenPair",
    "HandlerRun",
    "Kind",
    "LinkedUser",
    "LookupLimit",
    "NamedLock",
    "Notice",
    "OutgoingDelivery",
    "OutgoingMessage",
    "Panel",
    "PanelAnswer",
    "Purpose",
    "Replay",
    "Resend",
    "Scope",
    "SealedPair",
    "SignInOutcome",
    "State",
    "TokenPair",
    "WebhookAddress",
    "WebhookEndpoint",
    "Worker",
]

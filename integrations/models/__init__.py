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

__all__ = [
    "SETUP_ERRORS",
    "Breaker",
    "Check",
    "ConnectAttempt",
    "Connection",
    "Kind",
    "Notice",
    "State",
    "TokenPair",
]

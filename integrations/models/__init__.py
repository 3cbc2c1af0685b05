"""A customer's link to SnapInspect: rows and their transitions. No HTTP here, no cryptography."""

from integrations.models.connections import SETUP_ERRORS, Check, ConnectAttempt, Connection, State, TokenPair

__all__ = ["SETUP_ERRORS", "Check", "ConnectAttempt", "Connection", "State", "TokenPair"]

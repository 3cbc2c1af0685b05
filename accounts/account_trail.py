"""Writes changes that concern an account's safety into the audit trail, from allauth's signals."""

from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from django.http import HttpRequest

from accounts import audit
from accounts.models import User

# What allauth tells, and what is written.
KINDS = {
    account.password_changed: "account.password_changed",
    account.password_set: "account.password_changed",
    account.password_reset: "account.password_reset",
    account.email_added: "account.email_added",
    account.email_removed: "account.email_removed",
    account.email_changed: "account.email_changed",
    mfa.authenticator_added: "account.second_factor_added",
    mfa.authenticator_removed: "account.second_factor_removed",
    mfa.authenticator_reset: "account.second_factor_reset",
}


class UserSessionsAdapter(DefaultUserSessionsAdapter):
    """https://docs.allauth.org/en/latest/usersessions/adapter.html"""

    def end_sessions(self, sessions: Any) -> None:
        ended = list(sessions)
        super().end_sessions(ended)
        if ended:
            audit.record("account.sessions_ended", actor=ended[0].user, sessions=len(ended))


def connect() -> None:
    """Called once, when the app is ready."""
    for signal, kind in KINDS.items():
        signal.connect(_recorder(kind), weak=False, dispatch_uid=kind)


def _recorder(kind: str) -> Any:
    def record(sender: Any, user: User, request: HttpRequest | None = None, **told: Any) -> None:
        detail: dict[str, Any] = {}
        if "authenticator" in told:
            detail["factor"] = str(told["authenticator"].type)
        if "email_address" in told:
            detail["address"] = told["email_address"].email
        if "to_email_address" in told:
            before = told.get("from_email_address")
            detail |= {"before": before.email if before else "", "after": told["to_email_address"].email}
        audit.record(kind, actor=user, **detail)

    return record

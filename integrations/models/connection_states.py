"""The states of a connection, and what a change of state means for incidents and their mails."""

from typing import Any

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now


class State(models.TextChoices):
    CONNECTING = "connecting", "Connecting"
    CONNECTED = "connected", "Connected"
    TROUBLE = "trouble", "Having trouble"
    NEEDS_RECONNECT = "needs_reconnect", "Needs reconnect"
    DISCONNECTED = "disconnected", "Disconnected"
    SETUP_PROBLEM = "setup_problem", "Setup problem"


USABLE = frozenset({State.CONNECTED, State.TROUBLE, State.SETUP_PROBLEM})


class Kind(models.TextChoices):
    CONNECT = "connect", "Connect with SnapInspect"
    PERSONAL = "personal", "Personal access token"


class Notice(models.TextChoices):
    BROKEN = "broken", "Needs a person"
    RECOVERED = "recovered", "Works again"


# Kinds of trouble that only the operator can end.
SETUP_ERRORS = frozenset({"exchange_refused", "cannot_unseal", "no_room"})


def incident_changes(state: State) -> dict[str, Any]:
    """Returns the changes to the incident columns for a move to this state.

    SQL expressions, since another process may be sending a mail, or moving the connection, at this moment.
    """
    if state == State.NEEDS_RECONNECT:
        begins = Q(incident_since=None)
        return {
            "incident_since": Case(When(begins, then=Now()), default=F("incident_since")),
            "notice": Case(When(begins, then=Value(Notice.BROKEN)), default=F("notice")),
            "next_notice_at": Case(When(begins, then=Now()), default=F("next_notice_at")),
        }
    if state == State.DISCONNECTED:
        return {"incident_since": None, "notice": "", "next_notice_at": None}
    if state != State.CONNECTED:
        return {}
    ends = ~Q(incident_since=None)
    return {
        "incident_since": None,
        "notice": Case(
            # Without a mail that it broke, no mail that it works. For a mail being sent now see `incidents`.
            When(ends & Q(notice=Notice.BROKEN), then=Value("")),
            When(ends, then=Value(Notice.RECOVERED)),
            default=F("notice"),
        ),
        "next_notice_at": Case(When(ends, then=Now()), default=F("next_notice_at")),
    }

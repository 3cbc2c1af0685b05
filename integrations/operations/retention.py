"""How long each kind of row is kept: the table RULES, and the deletion of older rows in small batches.

Only history is deleted by age; tokens, settings and unfinished work never are. What waits for a connection that stays
disconnected is history. So is a delivery whose event still waits: the event has all that is needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, Max, Min, Model, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import AuditEntry, Invitation
from integrations.models import (
    ConnectAttempt,
    Connection,
    ConnectionTest,
    ConnectLink,
    ConnectSession,
    Delivery,
    Event,
    ExplorerCall,
    GuestTokenPair,
    OutgoingMessage,
    Replay,
    Resend,
    State,
    WebhookAddress,
)

BATCH = 500
AFTER_DISCONNECT = timedelta(days=30)


def events_kept_until(connection: Connection) -> datetime | None:
    """When the events of a disconnected connection are deleted; None while it is not disconnected."""
    return connection.state_since + AFTER_DISCONNECT if connection.state == State.DISCONNECTED else None


@dataclass(frozen=True)
class Rule:
    """Deletes those of `rows` whose `column` is older than `kept`; without a column, all of them.

    since: what `kept` is counted from, in words. arrival: the column that says when a row was inserted, for tables of
    millions whose keys grow with it. Only the old end of such a table is read, so `column` needs no index.
    """

    what: str
    kept: timedelta
    since: str
    rows: "QuerySet[Any]"
    column: str = ""
    arrival: str = ""

    def old(self) -> "QuerySet[Any]":
        """The rows to delete now."""
        rows = self.rows.filter(**{f"{self.column}__lt": Now() - self.kept}) if self.column else self.rows.all()
        if not self.arrival:
            return rows
        return rows.filter(pk__lt=_first_younger(rows.model, self.arrival, timezone.now() - self.kept + SLACK))


# Rows inserted at about the same time may have keys in another order, and clocks differ.
SLACK = timedelta(hours=1)


def _first_younger(model: type[Model], arrival: str, than: datetime) -> int:
    """The key from which on rows arrived later: a binary search, some twenty queries for a million rows."""
    rows = model._default_manager.order_by("pk").values_list("pk", arrival)
    ends = rows.aggregate(first=Min("pk"), last=Max("pk"))
    low, high = ends["first"] or 0, (ends["last"] or -1) + 1
    while low < high:
        middle = (low + high) // 2
        found = rows.filter(pk__gte=middle).first()
        if found is None or found[1] >= than:
            high = middle
        else:
            low = found[0] + 1
    return low


STORED_GUEST_PAIRS = GuestTokenPair.objects.filter(attempt=OuterRef("pk")).exclude(sealed_refresh=b"")
LIVE_SESSIONS = Session.objects.filter(session_key=OuterRef("session_key"))

ROUTED_DELIVERIES = Delivery.objects.exclude(state__in=[Delivery.State.RECEIVED, *Delivery.PARKED])

RULES = [
    Rule(
        "events of disconnected connections",
        AFTER_DISCONNECT,
        "the disconnect",
        Event.objects.filter(connection__state=State.DISCONNECTED),
        "connection__state_since",
    ),
    Rule("events", timedelta(days=400), "their end", Event.objects.all(), "finished_at", arrival="received_at"),
    Rule(
        "deliveries",
        timedelta(days=90),
        "their arrival",
        ROUTED_DELIVERIES,
        "received_at",
        arrival="received_at",
    ),
    Rule("parked deliveries", timedelta(days=30), "their arrival", Delivery.objects.parked(), "received_at"),
    Rule("results of tests", timedelta(days=90), "the test", ConnectionTest.objects.all(), "at", arrival="at"),
    Rule("calls of the explorer", timedelta(days=90), "the call", ExplorerCall.objects.all(), "at", arrival="at"),
    Rule("replays", timedelta(days=90), "their end", Replay.objects.all(), "finished_at"),
    Rule(
        "messages to webhook endpoints",
        OutgoingMessage.KEPT,
        "what they tell",
        OutgoingMessage.objects.all(),
        "created_at",
        arrival="created_at",
    ),
    Rule("resends", timedelta(days=90), "their end", Resend.objects.all(), "finished_at"),
    Rule(
        "attempts to connect",
        timedelta(days=30),
        "their start",
        ConnectAttempt.objects.exclude(Exists(STORED_GUEST_PAIRS)),
        "issued_at",
        arrival="issued_at",
    ),
    Rule("invitations", timedelta(days=30), "their last day", Invitation.objects.all(), "expires_at"),
    Rule(
        "replaced webhook addresses", timedelta(days=30), "their last day", WebhookAddress.objects.all(), "valid_until"
    ),
    Rule("links for colleagues", ConnectLink.REMEMBERED, "their making", ConnectLink.objects.all(), "created_at"),
    Rule("connect sessions", ConnectSession.REMEMBERED, "their making", ConnectSession.objects.all(), "created_at"),
    Rule("sessions", timedelta(0), "their end", Session.objects.all(), "expire_date"),
    Rule(
        "addresses and browsers of sessions",
        timedelta(0),
        "the session's end",
        # allauth's list of where somebody is signed in; allauth never deletes from it.
        UserSession.objects.exclude(Exists(LIVE_SESSIONS)),
    ),
    Rule(
        "entries of the admin's own log", timedelta(days=730), "what they tell", LogEntry.objects.all(), "action_time"
    ),
    Rule("entries of the audit trail", timedelta(days=730), "what they tell", AuditEntry.objects.all(), "at"),
]


def due(rule: Rule) -> int:
    """How many rows this rule would delete now."""
    return rule.old().order_by().count()


def prune(rule: Rule, *, batch: int = BATCH) -> Iterator[int]:
    """Deletes the rule's rows, oldest key first, and yields the size of each batch. May be stopped at any time.

    Two processes may prune at once.
    """
    rows = rule.old().order_by("pk")
    found = rows
    while keys := list(found.values_list("pk", flat=True)[:batch]):
        with transaction.atomic():
            # Apply the rule again: a row may have become unfinished work since it was found.
            still = list(rows.filter(pk__in=keys).values_list("pk", flat=True))
            rows.model._default_manager.filter(pk__in=still).delete()
        yield len(keys)
        # Rows that stay are not read again for every batch.
        found = rows.filter(pk__gt=keys[-1])

"""How long each kind of row is kept, and how it goes: in small batches, so that nobody waits for a large one.

The table below is the rule. What it deletes is history; tokens, open work and settings are never a matter of age.
"""

from collections.abc import Callable, Iterator
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
    Delivery,
    Event,
    EventDelivery,
    ExplorerCall,
    GuestTokenPair,
    Replay,
    State,
    WebhookAddress,
)

BATCH = 500
AFTER_DISCONNECT = timedelta(days=30)


def events_kept_until(connection: Connection) -> datetime | None:
    """When the events of a disconnected connection go; None while it is not disconnected."""
    return connection.state_since + AFTER_DISCONNECT if connection.state == State.DISCONNECTED else None


@dataclass(frozen=True)
class Rule:
    """`rows`: those older than `kept`, in any order; `kept` is counted from what `since` says.

    came: the column that says when a row came, where there may be millions, and their keys grow with it. Then only the
    old end of the table is looked at: no index has to be kept up for what happens once a day.
    """

    what: str
    kept: timedelta
    since: str
    rows: Callable[[timedelta], "QuerySet[Any]"]
    came: str = ""

    def old(self) -> "QuerySet[Any]":
        """The rows that go now."""
        rows = self.rows(self.kept)
        if not self.came:
            return rows
        return rows.filter(pk__lt=_first_younger(rows.model, self.came, timezone.now() - self.kept + SLACK))


# Rows that came at about one moment may have got their keys in another order, and clocks differ.
SLACK = timedelta(hours=1)


def _first_younger(model: type[Model], came: str, than: datetime) -> int:
    """The key from which on rows came later: found by halving, in some twenty looks at a million rows."""
    rows = model._default_manager.order_by("pk").values_list("pk", came)
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


def _unfinished_work() -> Exists:
    return Exists(EventDelivery.objects.filter(delivery=OuterRef("pk"), event__state__in=Event.OPEN))


RULES = [
    Rule(
        "events of disconnected connections",
        AFTER_DISCONNECT,
        "the disconnect",
        lambda kept: Event.objects.exclude(state__in=Event.OPEN).filter(
            connection__state=State.DISCONNECTED, connection__state_since__lt=Now() - kept
        ),
    ),
    Rule(
        "events",
        timedelta(days=400),
        "their end",
        lambda kept: Event.objects.filter(finished_at__lt=Now() - kept),
        came="received_at",
    ),
    Rule(
        "deliveries",
        timedelta(days=90),
        "their arrival",
        lambda kept: (
            Delivery.objects.filter(received_at__lt=Now() - kept)
            .exclude(state__in=[Delivery.State.RECEIVED, *Delivery.PARKED])
            .exclude(_unfinished_work())
        ),
        came="received_at",
    ),
    Rule(
        "parked deliveries",
        timedelta(days=30),
        "their arrival",
        lambda kept: Delivery.objects.parked().filter(received_at__lt=Now() - kept),
    ),
    Rule(
        "results of tests",
        timedelta(days=90),
        "the test",
        lambda kept: ConnectionTest.objects.filter(at__lt=Now() - kept),
        came="at",
    ),
    Rule(
        "calls of the explorer",
        timedelta(days=90),
        "the call",
        lambda kept: ExplorerCall.objects.filter(at__lt=Now() - kept),
        came="at",
    ),
    Rule(
        "replays",
        timedelta(days=90),
        "their end",
        lambda kept: Replay.objects.filter(finished_at__lt=Now() - kept),
    ),
    Rule(
        "attempts to connect",
        timedelta(days=30),
        "their start",
        # While a pair is kept for one, it is somebody's work.
        lambda kept: ConnectAttempt.objects.filter(issued_at__lt=Now() - kept).exclude(
            Exists(GuestTokenPair.objects.filter(attempt=OuterRef("pk")).exclude(sealed_refresh=b""))
        ),
        came="issued_at",
    ),
    Rule(
        "invitations",
        timedelta(days=30),
        "their last day",
        lambda kept: Invitation.objects.filter(expires_at__lt=Now() - kept),
    ),
    Rule(
        "replaced webhook addresses",
        timedelta(days=30),
        "their last day",
        lambda kept: WebhookAddress.objects.filter(valid_until__lt=Now() - kept),
    ),
    Rule(
        "links for colleagues",
        ConnectLink.REMEMBERED,
        "their making",
        lambda kept: ConnectLink.objects.filter(created_at__lt=Now() - kept),
    ),
    Rule("sessions", timedelta(0), "their end", lambda kept: Session.objects.filter(expire_date__lt=Now() - kept)),
    Rule(
        "addresses and browsers of sessions",
        timedelta(0),
        "the session's end",
        # allauth's list of where somebody is signed in; nothing else ever clears it.
        lambda kept: UserSession.objects.exclude(Exists(Session.objects.filter(session_key=OuterRef("session_key")))),
    ),
    Rule(
        "entries of the admin's own log",
        timedelta(days=730),
        "what they tell",
        lambda kept: LogEntry.objects.filter(action_time__lt=Now() - kept),
    ),
    Rule(
        "entries of the audit trail",
        timedelta(days=730),
        "what they tell",
        lambda kept: AuditEntry.objects.filter(at__lt=Now() - kept),
    ),
]


def due(rule: Rule) -> int:
    """How many rows this rule would delete now."""
    return rule.old().order_by().count()


def prune(rule: Rule, *, batch: int = BATCH) -> Iterator[int]:
    """Deletes what the rule says, and tells after each batch how many rows it had. May be stopped at any moment.

    Oldest first where keys grow with time; of two that prune at once, each row goes with one of them.
    """
    rows = rule.old().order_by("pk")
    found = rows
    while keys := list(found.values_list("pk", flat=True)[:batch]):
        with transaction.atomic():
            # Once more by the rule: a row may have become open work again since it was found.
            still = list(rows.filter(pk__in=keys).values_list("pk", flat=True))
            rows.model._default_manager.filter(pk__in=still).delete()
        yield len(keys)
        # From here on: what stays is not looked at again for every batch.
        found = rows.filter(pk__gt=keys[-1])

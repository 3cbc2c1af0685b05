"""How the whole is doing, for the operator's staff: what works, what waits and since when, what went wrong lately.

Made to be asked every few seconds while a million events are stored: nothing is counted further than MOST, and every
question is answered from an index or from a small table. Nothing here names a customer.
"""

import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import django
from django.conf import settings
from django.db import connection as database
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from integrations.events import queue
from integrations.models import (
    SETUP_ERRORS,
    Attempt,
    CircuitBreaker,
    Connection,
    Delivery,
    Event,
    EventQueue,
    State,
    TokenPair,
    Worker,
)
from integrations.tokens import encryption, keys

MOST = 10_000
# The newest tries that are looked through for errors.
TRIES = 5_000
LATE_AFTER = timedelta(minutes=2)
# Longer than the lease of whoever sent an exchange: by now it should have been found out how it ended.
UNANSWERED_AFTER = timedelta(minutes=1)
LATELY = timedelta(hours=24)


@dataclass(frozen=True)
class Signal:
    """One thing that is well or not. tone: success, warning or danger."""

    name: str
    tone: str
    words: str


@dataclass(frozen=True)
class WorkerSeen:
    name: str
    started_at: datetime
    swept_at: datetime


@dataclass(frozen=True)
class Operations:
    """Counts stop at MOST. `waiting_since` is when the oldest row came that nobody has worked on; None for none."""

    at: datetime
    signals: list[Signal]
    connections: dict[str, int]
    connection_troubles: dict[str, int]
    deliveries: dict[str, int]
    events: dict[str, int]
    event_troubles: dict[str, int]
    delivery_waiting_since: datetime | None
    event_waiting_since: datetime | None
    paused_lanes: int
    breaker_is_open: bool
    exchanges_unanswered: int
    setup_problems: int
    workers: list[WorkerSeen]
    workers_alive: list[str]
    keys: dict[str, int]
    configured_keys: list[str]
    wake_ups: dict[str, int]
    mails_waiting: int
    mails_waiting_since: datetime | None
    versions: dict[str, str]


def look() -> Operations:
    """Everything as it is now."""
    now = timezone.now()
    by_state, by_trouble = _connections()
    delivery_since, event_since = _oldest_delivery(), _oldest_event()
    workers = [WorkerSeen(*row) for row in Worker.objects.values_list("name", "started_at", "swept_at")[:20]]
    used = keys.rows_by_key(MOST)
    configured = list(encryption.key_ids())
    alive = [worker.name for worker in workers if worker.swept_at > now - Worker.SILENT_AFTER]
    mails, mails_since = _mails()
    breaker_is_open = CircuitBreaker.objects.exclude(opened_at=None).exists()
    unanswered, setup_problems = _unanswered(), _setup_problems(by_state)
    signals = [
        _workers_signal(alive),
        _queue_signal([since for since in (delivery_since, event_since) if since], now),
        Signal("Breaker", "danger", "Open: SnapInspect refuses many at once, so exchanging is stopped.")
        if breaker_is_open
        else Signal("Breaker", "success", "Closed."),
        _exchanges_signal(unanswered),
        _setup_signal(setup_problems),
        _keys_signal(set(used) - set(configured)),
        _mail_signal(mails, mails_since, now),
    ]
    return Operations(
        at=now,
        signals=signals,
        connections=by_state,
        connection_troubles=by_trouble,
        # Two questions, because there is an index for each of them and none for both.
        deliveries={
            **_states(Delivery.objects.received(), [Delivery.State.RECEIVED]),
            **_states(Delivery.objects.parked(), Delivery.PARKED),
        },
        events={
            **_states(Event.objects.open(), Event.OPEN),
            **_states(Event.objects.filter(state__in=STUCK_EVENTS), STUCK_EVENTS),
        },
        event_troubles=_recent_troubles(),
        delivery_waiting_since=delivery_since,
        event_waiting_since=event_since,
        paused_lanes=_paused_lanes(),
        breaker_is_open=breaker_is_open,
        exchanges_unanswered=unanswered,
        setup_problems=setup_problems,
        workers=workers,
        workers_alive=alive,
        keys=dict(used),
        configured_keys=configured,
        wake_ups=_wake_ups(),
        mails_waiting=mails,
        mails_waiting_since=mails_since,
        versions=_versions(),
    )


STUCK_EVENTS = (Event.State.FAILED, Event.State.UNMATCHED)


def _connections() -> tuple[dict[str, int], dict[str, int]]:
    by_state = {str(state): Connection.objects.filter(state=state).order_by()[:MOST].count() for state in State}
    troubles = Connection.objects.exclude(error_kind="").order_by().values_list("error_kind", flat=True)[:MOST]
    return by_state, dict(Counter(troubles).most_common())


def _states(rows: "QuerySet[Any]", states: Iterable[str]) -> dict[str, int]:
    counted = {str(state): Count("pk", filter=Q(state=state)) for state in states}
    return dict(rows.order_by().only("pk", "state")[:MOST].aggregate(**counted))


def _oldest_delivery() -> datetime | None:
    return Delivery.objects.received().order_by("pk").values_list("received_at", flat=True).first()


def _oldest_event() -> datetime | None:
    """Since when the queue that waits longest is due."""
    return queue.due().values_list("due_at", flat=True).first()


def _paused_lanes() -> int:
    """Connections whose events wait because SnapInspect does not answer them."""
    return EventQueue.objects.filter(paused_until__gt=Now())[:MOST].count()


def _unanswered() -> int:
    """Exchanges that were sent, and nobody knows yet how they ended."""
    return TokenPair.objects.filter(exchange_sent_at__lt=Now() - UNANSWERED_AFTER).count()


def _setup_problems(by_state: dict[str, int]) -> int:
    """Connections that say so, those included whose first tokens cannot be exchanged."""
    candidates = TokenPair.objects.candidates().filter(error_kind__in=SETUP_ERRORS)
    return by_state[State.SETUP_PROBLEM] + candidates.exclude(connection__state=State.SETUP_PROBLEM).count()


def _recent_troubles() -> dict[str, int]:
    newest = Attempt.objects.order_by("-pk").values_list("pk", flat=True).first()
    if newest is None:
        return {}
    lately = Attempt.objects.filter(pk__gt=newest - TRIES, at__gt=Now() - LATELY).exclude(error_kind="")
    counted = lately.order_by().values_list("error_kind").annotate(count=Count("pk")).order_by("-count")
    return dict(counted)


def _wake_ups() -> dict[str, int]:
    if settings.TASKS_ENGINE != "db":
        return {}
    return dict(Counter(DBTaskResult.objects.order_by().values_list("status", flat=True)[:MOST]))


def _mails() -> tuple[int, datetime | None]:
    """Notices that should have been sent by now, and since when the first of them is owed."""
    owed = Connection.objects.exclude(notice="").exclude(next_notice_at=None)
    told = owed.aggregate(count=Count("pk"), since=Min("state_since"))
    return told["count"], told["since"]


def _versions() -> dict[str, str]:
    applied = MigrationRecorder.Migration.objects.filter(app__in=["accounts", "integrations"]).order_by("pk")
    newest: dict[str, str] = dict(applied.values_list("app", "name"))
    vendor = ".".join(str(part) for part in database.get_database_version())
    return {
        "Python": platform.python_version(),
        "Django": django.get_version(),
        database.display_name: vendor,
        **{f"Schema of {app}": name for app, name in sorted(newest.items())},
    }


def _workers_signal(alive: list[str]) -> Signal:
    if alive:
        return Signal("Workers", "success", f"{len(alive)} at work.")
    return Signal("Workers", "danger", "None has swept for a minute: nothing is processed. Start `manage.py worker`.")


def _queue_signal(waiting: list[datetime], now: datetime) -> Signal:
    if not waiting:
        return Signal("Queue", "success", "Nothing waits.")
    seconds = max(0, round((now - min(waiting)).total_seconds()))
    tone = "success" if now - min(waiting) < LATE_AFTER else "warning"
    return Signal("Queue", tone, f"The oldest has waited for {_length(seconds)}.")


def _length(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} seconds"
    return f"{seconds // 60} minutes" if seconds < 7200 else f"{seconds // 3600} hours"


def _setup_signal(problems: int) -> Signal:
    if problems:
        return Signal("Setup", "danger", f"{problems} connections fail for a reason that only you can mend.")
    return Signal("Setup", "success", "No connection fails for a reason that only you could mend.")


def _exchanges_signal(unanswered: int) -> Signal:
    if unanswered:
        return Signal("Exchanges", "warning", f"{unanswered} were sent, and nobody knows yet how they ended.")
    return Signal("Exchanges", "success", "Every one that was sent has ended.")


def _keys_signal(missing: set[str]) -> Signal:
    if missing:
        return Signal("Keys", "danger", f"Not configured, but needed: {', '.join(sorted(missing))}.")
    return Signal("Keys", "success", "All that are needed are configured.")


def _mail_signal(waiting: int, since: datetime | None, now: datetime) -> Signal:
    if since is not None and now - since > LATE_AFTER:
        return Signal("Mail", "warning", f"{waiting} notices could not be sent yet; the log says why.")
    return Signal("Mail", "success", "Nothing is stuck.")

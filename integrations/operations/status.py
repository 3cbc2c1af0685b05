"""The state of the deployment, for the operator's staff: what works, what waits and since when, what failed lately.

May be read every few seconds while a million events are stored: nothing is counted further than COUNT_LIMIT, and every
query uses an index or a small table. Nothing here names a customer.
"""

import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import django
from django.db import connection as database
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from integrations.events import queue, quotas
from integrations.models import (
    SETUP_ERRORS,
    Attempt,
    Connection,
    Delivery,
    Event,
    EventQueue,
    State,
    TokenPair,
    WebhookEndpoint,
    Worker,
)
from integrations.tokens import encryption, exchange_limit, keys

COUNT_LIMIT = 10_000
# The newest attempts that are searched for errors.
RECENT_ATTEMPTS = 5_000
LATE_AFTER = timedelta(minutes=2)
# Longer than the lease of the sender: by now it should be known how the exchange ended.
UNANSWERED_AFTER = timedelta(minutes=1)
LATELY = timedelta(hours=24)


@dataclass(frozen=True)
class Signal:
    """One thing that works or does not. tone: success, warning or danger."""

    name: str
    tone: str
    words: str


@dataclass(frozen=True)
class WorkerSeen:
    name: str
    started_at: datetime
    swept_at: datetime


@dataclass(frozen=True)
class Status:
    """Counts stop at COUNT_LIMIT. `…_waiting_since` is when the oldest unprocessed row came; None if there is none."""

    at: datetime
    signals: list[Signal]
    connections: dict[str, int]
    connection_troubles: dict[str, int]
    deliveries: dict[str, int]
    events: dict[str, int]
    event_troubles: dict[str, int]
    delivery_waiting_since: datetime | None
    event_waiting_since: datetime | None
    webhook_waiting_since: datetime | None
    endpoints_in_trouble: dict[str, int]
    paused_queues: int
    exchanges_limited: bool
    exchanges_unanswered: int
    setup_problems: int
    workers: list[WorkerSeen]
    workers_alive: list[str]
    keys: dict[str, int]
    configured_keys: list[str]
    mails_waiting: int
    mails_waiting_since: datetime | None
    versions: dict[str, str]


def read() -> Status:
    """Everything as it is now."""
    now = timezone.now()
    by_state, by_trouble = _connections()
    (received, delivery_since), event_since = _received(), _oldest_event()
    workers = [WorkerSeen(*row) for row in Worker.objects.values_list("name", "started_at", "swept_at")[:20]]
    used = keys.rows_by_key(COUNT_LIMIT)
    configured = list(encryption.key_ids())
    alive = [worker.name for worker in workers if worker.swept_at > now - Worker.SILENT_AFTER]
    mails, mails_since = _mails()
    room = quotas.usage()
    webhook_since, endpoints = _endpoints()
    exchanges_limited = exchange_limit.is_limiting()
    unanswered, setup_problems = _unanswered(), _setup_problems(by_state)
    # Two queries, because each has an index and both together have none.
    events = {
        **_states(Event.objects.open(), Event.OPEN),
        **_states(Event.objects.filter(state__in=STUCK_EVENTS), STUCK_EVENTS),
    }
    paused = _paused_queues()
    missing_keys = ", ".join(sorted(set(used) - set(configured)))
    signals = [
        _signal(
            "Workers",
            f"{len(alive)} running.",
            "" if alive else "No worker has run for a minute, so nothing is processed. Start `manage.py worker`.",
        ),
        _queue_signal([since for since in (delivery_since, event_since, webhook_since) if since], now),
        _signal("Events", "No event is retried.", _retries(events[Event.State.RETRYING], paused), tone="warning"),
        _signal(
            "Tokens",
            "Requests to SnapInspect: normal.",
            "SnapInspect is refusing many tokens, so we exchange only a few at a time." if exchanges_limited else "",
        ),
        _signal(
            "Exchanges",
            "No token exchange is waiting for an answer.",
            f"{unanswered} token exchanges have no answer yet." if unanswered else "",
            tone="warning",
        ),
        _signal(
            "Setup",
            "No connection has a setup problem.",
            f"{setup_problems} connections have a setup problem that only you can fix." if setup_problems else "",
        ),
        _signal(
            "Keys",
            "All required keys are configured.",
            f"Missing keys: {missing_keys}." if missing_keys else "",
        ),
        _signal("Quotas", "There is room for more deliveries.", _short_of_room(room), tone="warning"),
        _signal(
            "Mail",
            "No emails are stuck.",
            f"{mails} emails could not be sent yet. See the log."
            if mails_since is not None and now - mails_since > LATE_AFTER
            else "",
            tone="warning",
        ),
        _signal(
            "Webhooks",
            "Every webhook endpoint can be reached.",
            f"{sum(endpoints.values())} webhook endpoints are failing or were turned off."
            if any(endpoints.values())
            else "",
            tone="warning",
        ),
    ]
    return Status(
        at=now,
        signals=signals,
        connections=by_state,
        connection_troubles=by_trouble,
        deliveries={str(Delivery.State.RECEIVED): received, **room.parked},
        events=events,
        event_troubles=_recent_troubles(),
        delivery_waiting_since=delivery_since,
        event_waiting_since=event_since,
        webhook_waiting_since=webhook_since,
        endpoints_in_trouble=endpoints,
        paused_queues=paused,
        exchanges_limited=exchanges_limited,
        exchanges_unanswered=unanswered,
        setup_problems=setup_problems,
        workers=workers,
        workers_alive=alive,
        keys=dict(used),
        configured_keys=configured,
        mails_waiting=mails,
        mails_waiting_since=mails_since,
        versions=_versions(),
    )


STUCK_EVENTS = (Event.State.FAILED, Event.State.UNMATCHED)


def _connections() -> tuple[dict[str, int], dict[str, int]]:
    by_state = {str(state): Connection.objects.filter(state=state).order_by()[:COUNT_LIMIT].count() for state in State}
    troubles = Connection.objects.exclude(error_kind="").order_by().values_list("error_kind", flat=True)[:COUNT_LIMIT]
    return by_state, dict(Counter(troubles).most_common())


def _states(rows: "QuerySet[Any]", states: Iterable[str]) -> dict[str, int]:
    counted = {str(state): Count("pk", filter=Q(state=state)) for state in states}
    return dict(rows.order_by().only("pk", "state")[:COUNT_LIMIT].aggregate(**counted))


def _received() -> tuple[int, datetime | None]:
    """How many deliveries nobody has routed yet, and since when the oldest waits."""
    oldest = Delivery.objects.received().order_by("pk").only("pk", "received_at")[:COUNT_LIMIT]
    found = oldest.aggregate(count=Count("pk"), since=Min("received_at"))
    return found["count"], found["since"]


def _oldest_event() -> datetime | None:
    """Since when the queue that waits longest is due."""
    return queue.due().values_list("due_at", flat=True).first()


def _endpoints() -> tuple[datetime | None, dict[str, int]]:
    """Since when the webhook endpoint that waits longest for a worker is due, and how many are failing or off.

    These by whose they are: the operator's own, or customers'. There are a few endpoints for each customer at most.
    """
    due, trouble = WebhookEndpoint.objects.due().values("pk"), WebhookEndpoint.objects.in_trouble().values("pk")
    found = WebhookEndpoint.objects.aggregate(
        since=Min("due_at", filter=Q(pk__in=due)),
        operator=Count("pk", filter=Q(pk__in=trouble, customer=None)),
        customers=Count("customer", filter=Q(pk__in=trouble)),
    )
    return found.pop("since"), found


def _paused_queues() -> int:
    """Connections whose events wait because SnapInspect does not answer them."""
    return EventQueue.objects.filter(paused_until__gt=Now())[:COUNT_LIMIT].count()


def _unanswered() -> int:
    """How many exchanges were sent whose outcome is unknown."""
    return TokenPair.objects.filter(exchange_sent_at__lt=Now() - UNANSWERED_AFTER).count()


def _short_of_room(seen: quotas.Usage) -> str:
    """Whose deliveries will soon be deleted or parked, in words; empty: nobody's."""
    nearly = f"{quotas.NEARLY:.0%}"
    room = f"{seen.share:.0%} of all room for parked deliveries is used." if seen.share >= quotas.NEARLY else ""
    full = (
        f"{seen.nearly_full} companies use more than {nearly} of their quota of deliveries." if seen.nearly_full else ""
    )
    return " ".join(filter(None, [room, full]))


def _setup_problems(by_state: dict[str, int]) -> int:
    """How many connections are in this state, or cannot exchange their first tokens for such a reason."""
    candidates = TokenPair.objects.candidates().filter(error_kind__in=SETUP_ERRORS)
    return by_state[State.SETUP_PROBLEM] + candidates.exclude(connection__state=State.SETUP_PROBLEM).count()


def _recent_troubles() -> dict[str, int]:
    newest = Attempt.objects.order_by("-pk").values_list("pk", flat=True).first()
    if newest is None:
        return {}
    lately = Attempt.objects.filter(pk__gt=newest - RECENT_ATTEMPTS, at__gt=Now() - LATELY).exclude(error_kind="")
    counted = lately.order_by().values_list("error_kind").annotate(count=Count("pk")).order_by("-count")
    return dict(counted)


def _mails() -> tuple[int, datetime | None]:
    """How many notices are still to be sent, and since when the oldest is owed."""
    connections = Connection.objects.exclude(notice="").exclude(next_notice_at=None)
    endpoints = WebhookEndpoint.objects.exclude(notice_at=None)
    found = [owed.aggregate(count=Count("pk"), since=Min("state_since")) for owed in (connections, endpoints)]
    return sum(each["count"] for each in found), min((each["since"] for each in found if each["since"]), default=None)


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


def _signal(name: str, fine: str, problem: str, *, tone: str = "danger") -> Signal:
    """What is wrong, in this tone; `fine` when `problem` is empty."""
    return Signal(name, tone, problem) if problem else Signal(name, "success", fine)


def _retries(retrying: int, paused: int) -> str:
    """What to say while events are retried; empty while none is."""
    if not retrying:
        return ""
    more = " or more" if retrying >= COUNT_LIMIT else ""
    told = "1 event is being retried." if retrying == 1 else f"{retrying}{more} events are being retried."
    return f"{told} SnapInspect does not answer {paused} of the connections." if paused else told


def _queue_signal(waiting: list[datetime], now: datetime) -> Signal:
    if not waiting:
        return Signal("Queue", "success", "Nothing is waiting.")
    seconds = max(0, round((now - min(waiting)).total_seconds()))
    tone = "success" if now - min(waiting) < LATE_AFTER else "warning"
    return Signal("Queue", tone, f"The oldest item has waited for {_length(seconds)}.")


def _length(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} seconds"
    return f"{seconds // 60} minutes" if seconds < 7200 else f"{seconds // 3600} hours"

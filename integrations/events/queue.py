"""A connection's events, one worker at a time.

A lane is worked on under a lease on the database's clock. So events of one connection are processed in order, and
look-ups of one inspection never overtake each other (whatever was asked later is newer).

Customers share the workers. Customers whom nobody serves at the moment come first, then lanes that wait longest; one
that still has work after its shift goes to the end of the line. So a flood of one customer's, through one connection or
a hundred, delays the others by a shift at most. An account whose API hangs costs one thread QUICK_SECONDS; from then on
it is on trial (see `tasks`), where it may take as long as any call may, until it answers.

Every write takes the lane's row first: a worker that was frozen past its lease finds that the lane is no longer its
own, and stops without having written anything."""

import logging
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Greatest, Now

from integrations.events import attempts
from integrations.events.attempts import Outcome
from integrations.metrics import counters
from integrations.models import USABLE, Attempt, Connection, Event, EventDelivery, EventQueue, HandlerRun, State

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=45)
RENEW_AFTER = 5.0  # seconds: with the longest look-up on top it is still within the lease
SHIFT_SECONDS = 10.0
QUICK_SECONDS = 5.0  # for SnapInspect to answer a lane that is not on trial
BATCH = 500
# What was finished without a look-up is written together, this often: a killed worker repeats no more than this.
WRITE_AFTER = 0.2


# Shifts that lost the database. Threads append; the one that sweeps takes away.
_interrupted: "deque[Shift]" = deque()


class LostLane(Exception):
    """Another worker serves this lane now: stop, and write nothing more."""


def due() -> "QuerySet[EventQueue]":
    """Lanes with something to do, whose connection is fit for it, the longest waiting first."""
    fit = Q(state__in=USABLE)
    if not settings.SNAPINSPECT_INSPECTION_PATH:
        fit = ~Q(state=State.DISCONNECTED)  # nothing is looked up, so no token is needed
    # Asked lane by lane: for a join PostgreSQL reads every connection there is.
    state = Subquery(Connection.objects.filter(pk=OuterRef("connection")).values("state"))
    return EventQueue.objects.due().alias(state=state).filter(fit).order_by("due_at")


def next_due() -> "QuerySet[EventQueue]":
    """Those that are due and were answered last time, in the order in which to serve them."""
    served = EventQueue.objects.filter(lease_until__gt=Now(), connection__customer=OuterRef("connection__customer"))
    return due().filter(pauses=0).order_by(Exists(served), "due_at")


def on_trial() -> "QuerySet[EventQueue]":
    """Those that are due again after an outage."""
    return due().filter(pauses__gt=0)


def serve(lane_id: int) -> None:
    """Works on a lane that is due until nothing is, its time is up, or SnapInspect does not answer.

    One that is on trial is served until SnapInspect answers: the rest is for everybody's turn.
    """
    shift = take(EventQueue.objects.due().filter(pk=lane_id), due_at=None)
    if shift is None:
        return
    try:
        shift.work()
        shift.end()
    except LostLane:
        logger.info("Left lane %s to whoever has it now.", lane_id)
    except (OperationalError, InterfaceError):
        _interrupted.append(shift)
        raise


def end_interrupted() -> None:
    """Gives back the lanes that this process had when the database went away: nobody waits for their leases to lapse.

    Nor do their events count as what may have killed a worker: this one lives.
    """
    while _interrupted:
        with suppress(LostLane):  # the database was away for longer than the lease
            _interrupted[0].end()
        _interrupted.popleft()


def take(lane: "QuerySet[EventQueue]", **changes: Any) -> "Shift | None":
    """This one lane under our lease; None if it is not to be had."""
    owner = secrets.token_hex(16)
    if lane.unleased().update(lease_owner=owner, lease_until=Now() + LEASE, **changes) != 1:  # type: ignore[attr-defined]
        return None
    return Shift(Connection.objects.select_related("customer").get(event_queue__lease_owner=owner), owner)


class Shift:
    """One worker's time with one lane. Every method raises LostLane once the lane is somebody else's."""

    def __init__(self, connection: Connection, owner: str) -> None:
        self.connection = connection
        self.events = Event.objects.filter(connection=connection)
        self._lane = EventQueue.objects.filter(pk=connection.pk, lease_owner=owner)
        self._on_trial = self._had_trouble = self._lane.filter(pauses__gt=0).exists()
        self._ends_at = time.monotonic() + SHIFT_SECONDS
        self._renewed_at = time.monotonic()
        self._paused = False
        self._finished: list[tuple[Event, Outcome, timedelta]] = []

    @contextmanager
    def writing(self, *, fine: bool = False) -> Iterator[None]:
        """A transaction that holds the lane's row, and renews the lease. fine: SnapInspect has answered."""
        changes: dict[str, Any] = {"lease_until": Now() + LEASE}
        if fine:
            changes |= {"fine_at": Now(), "pauses": 0, "paused_until": None, "pause_kind": ""}
        with transaction.atomic():
            if fine and self._had_trouble:
                self._lane.filter(gap_since=None, fine_at__lt=Now() - EventQueue.GAP).update(gap_since=F("fine_at"))
                self._had_trouble = False
            if self._lane.update(**changes) != 1:
                raise LostLane
            yield
        self._renewed_at = time.monotonic()

    def work(self) -> None:
        """Takes up what a dead worker left, then batch after batch of what is due."""
        # Perhaps one of these killed it: one at a time, and the attempt counts before it begins.
        for orphan in self.events.filter(state=Event.State.PROCESSING).select_related("repeat_of").order_by("pk"):
            if self._is_over():
                return
            self._take_up(orphan)
        while not self._is_over():
            batch = list(self.events.due().select_related("repeat_of").order_by("next_attempt_at", "pk")[:BATCH])
            if not batch:
                return
            self._process(batch)

    def end(self) -> None:
        """Gives the lane back; it is looked at again when its next event is due."""
        with self.writing():
            self.events.filter(state=Event.State.PROCESSING).update(
                state=Case(When(attempts__gt=0, then=Value(Event.State.RETRYING)), default=Value(Event.State.RECEIVED))
            )
            following = self.events.open().order_by("next_attempt_at").values_list("next_attempt_at", flat=True).first()
            if following is not None:
                # At the end of the line if it is due already; and not later than a new delivery has asked for.
                later = self._lane.filter(Q(due_at=None) | Q(due_at__gt=following))
                later.update(due_at=Greatest(Value(following), Now()))
            self._lane.update(lease_owner="", lease_until=None)

    def _is_over(self) -> bool:
        return self._paused or (self._on_trial and not self._had_trouble) or time.monotonic() > self._ends_at

    def _take_up(self, orphan: Event) -> None:
        if orphan.attempts >= Event.MOST_ATTEMPTS:
            self._record(orphan, Outcome(Event.State.FAILED, "worker_died", counts=False), timedelta())
            return
        with self.writing():
            self.events.filter(pk=orphan.pk).update(attempts=F("attempts") + 1)
        self._attempt(orphan, list(orphan.handler_runs.values_list("handler", flat=True)), counted=True)
        self._flush()

    def _process(self, batch: list[Event]) -> None:
        with self.writing():
            ours = self.events.open().filter(pk__in=[event.pk for event in batch])
            ours.update(state=Event.State.PROCESSING)
        done: dict[int, list[str]] = defaultdict(list)
        for pk, handler in HandlerRun.objects.filter(event__in=batch).values_list("event_id", "handler"):
            done[pk].append(handler)
        for event in batch:
            if self._is_over():
                break
            self._attempt(event, done[event.pk])
        self._flush()

    def _attempt(self, event: Event, done: list[str], *, counted: bool = False) -> None:
        begun = time.monotonic()
        try:
            outcome = attempts.attempt(
                event,
                self.connection,
                done=done,
                hold_on=self._hold_on,
                deadline=None if self._on_trial else QUICK_SECONDS,
            )
        except (DatabaseError, LostLane):
            raise
        except Exception:
            # A fault of ours about this event: it must not hold up the others, nor be tried for ever.
            logger.exception("Processing event %s failed.", event.code)
            outcome = attempts.failed(event, "internal_error")
        duration = timedelta(seconds=time.monotonic() - begun)
        outcome.counts = outcome.counts and not counted
        if outcome.seen is None and not outcome.error_kind and not outcome.joins and not counted:
            self._finished.append((event, outcome, duration))
            if time.monotonic() - self._renewed_at > WRITE_AFTER:
                self._flush()
        else:
            self._record(event, outcome, duration)

    def _record(self, event: Event, outcome: Outcome, duration: timedelta) -> None:
        """Writes how an attempt ended."""
        with self.writing(fine=outcome.status is not None and outcome.status < 300):
            Attempt.objects.create(
                event=event,
                error_kind=outcome.error_kind,
                status=outcome.status,
                duration=duration,
                handler=outcome.handler,
            )
            if outcome.joins is not None:
                self._join(event, outcome.joins)
            else:
                # Only while it is being processed: somebody may have decided to ignore it.
                self.events.filter(pk=event.pk, state=Event.State.PROCESSING).update(**_changes(outcome))
            HandlerRun.objects.insert("event", "handler", rows=_runs(event, outcome))
            if outcome.pause is not None:
                self._paused = True
                outage = outcome.error_kind != "too_many_misses"
                self._lane.update(
                    paused_until=Now() + outcome.pause,
                    pause_kind=outcome.error_kind,
                    pauses=F("pauses") + (1 if outage else 0),
                )
        counters.event_tried("joined" if outcome.joins is not None else outcome.state)
        if outcome.seen is not None and outcome.seen.company and not self.connection.company_id:
            self._learn(outcome.seen.company)

    def _flush(self) -> None:
        """Writes what was finished without a look-up: a handful of statements, however many events."""
        finished, self._finished = self._finished, []
        if not finished:
            return
        with self.writing(fine=True):
            ours = self.events.filter(pk__in=[event.pk for event, _, _ in finished], state=Event.State.PROCESSING)
            ours.update(**_changes(Outcome(Event.State.DONE)))
            Attempt.objects.insert(
                *("event", "duration", "error_kind", "handler"),
                rows=((event.pk, duration, "", "") for event, _, duration in finished),
            )
            HandlerRun.objects.insert(
                "event", "handler", rows=(run for event, outcome, _ in finished for run in _runs(event, outcome))
            )
        counters.event_tried(Event.State.DONE, len(finished))

    def _join(self, event: Event, target: Event) -> None:
        """The event repeats another one, which gets its deliveries and its timeline."""
        EventDelivery.objects.filter(event=event).update(event=target)
        Attempt.objects.filter(event=event).update(event=target)
        # What recovery suspected in vain gives no cover to deliveries: they are about something of their own.
        cover = None if event.recovered and not target.recovered else target
        Event.objects.filter(repeat_of=event).update(repeat_of=cover)
        self.events.filter(pk=event.pk).delete()
        if target.recovered and not event.recovered:
            # Now it is known what recovery had found. Handlers of that type have not heard of it yet; others have.
            Event.objects.filter(pk=target.pk).update(
                type=event.type,
                review_id=event.review_id,
                company_id=event.company_id,
                body_sha256=event.body_sha256,
                state=Event.State.RECEIVED,
                attempts=0,
                next_attempt_at=Now(),
                finished_at=None,
            )

    def _learn(self, company: str) -> None:
        """Keeps a company that the API has named to this connection's own token: a body's word would not do."""
        try:
            with transaction.atomic():
                Connection.objects.filter(pk=self.connection.pk, company_id="").update(company_id=company)
        except IntegrityError:
            # The customer has another connection for this company; which one is to stay is for a person to say.
            logger.warning("Connection %s is of a company that is connected already.", self.connection.code)
        self.connection.refresh_from_db(fields=["company_id"])

    def _hold_on(self) -> None:
        """Renews the lease in good time."""
        if time.monotonic() - self._renewed_at > RENEW_AFTER:
            with self.writing():
                pass


def _changes(outcome: Outcome) -> dict[str, Any]:
    """What an attempt's end changes in the event's row."""
    changes: dict[str, Any] = {"state": outcome.state, "last_error_kind": outcome.error_kind}
    if outcome.counts:
        changes["attempts"] = F("attempts") + 1
    if outcome.state == Event.State.RETRYING:
        changes["next_attempt_at"] = Now() + outcome.again_in
    else:
        changes["finished_at"] = Now()
    if outcome.seen is not None:
        changes |= {
            "proof": Event.Proof.VERIFIED,
            "content": outcome.seen.text,
            "content_sha256": outcome.seen.sha256,
            "fetched_at": Now(),
        }
    elif outcome.state == Event.State.DONE:
        changes["proof"] = Event.Proof.NOT_CHECKED
    if outcome.seen is not None or outcome.state != Event.State.RETRYING:
        # It is known by now not to repeat another event, or will never be: people see it from here on.
        changes["repeat_of"] = None
    return changes


def _runs(event: Event, outcome: Outcome) -> list[tuple[int, str]]:
    """The handlers that must not run again. An event that is done is not tried again, unless recovery made it."""
    if outcome.state == Event.State.DONE and not event.recovered:
        return []
    return [(event.pk, handler) for handler in outcome.handled]

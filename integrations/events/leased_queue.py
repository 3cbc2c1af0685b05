"""A connection's queue while one worker has its lease: its events are attempted, and how that ended is written.

Every write updates the queue's row first: a worker that was frozen past its lease finds that the lease is no longer its
own, and stops without having written anything.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Greatest, Now

from accounts.kept_queries import KeptQuery, KeptUpdate
from integrations.events import attempts, outbox
from integrations.events.attempts import Outcome
from integrations.events.verification import Lookups
from integrations.metrics import counters
from integrations.models import Attempt, Connection, Event, EventDelivery, EventQueue, HandlerRun, leases

logger = logging.getLogger(__name__)

RENEW_AFTER = 5.0  # seconds: with the longest look-up on top it is still within the lease
TIME_SLICE = 10.0  # seconds
BATCH = 500
# Events that are done are written together, this often (seconds): a killed worker repeats no more of them.
WRITE_AFTER = 0.2


class LostLease(Exception):
    """Another worker processes this queue now: stop, and write nothing more."""


# Written once, as `EventQueue.renew_lease`.
_put_back = KeptUpdate(
    lambda pk: Event.objects.filter(connection=pk, state=Event.State.PROCESSING),
    state=Case(When(attempts__gt=0, then=Value(Event.State.RETRYING)), default=Value(Event.State.RECEIVED)),
)
_next_open = KeptQuery(
    lambda pk: Event.objects.open().filter(connection=pk).only("next_attempt_at").order_by("next_attempt_at")[:1]
)


class LeasedQueue:
    """A queue under this worker's lease. Every method raises LostLease once the lease is somebody else's."""

    def __init__(self, connection: Connection, owner: str) -> None:
        self.connection = connection
        self.events = Event.objects.filter(connection=connection)
        self._owner, self._queue = owner, EventQueue.objects.filter(pk=connection.pk, lease_owner=owner)
        self._had_outage = self._queue.filter(pauses__gt=0).exists()
        self._ends_at = time.monotonic() + TIME_SLICE
        self._renewed_at = time.monotonic()
        self._paused = False
        self._finished: list[tuple[Event, Outcome, timedelta]] = []
        self._looked_up: set[str] = set()  # inspections of these
        self._lookups = Lookups(connection, renew_lease=self._renew_lease)

    @contextmanager
    def atomic(self, *, succeeded: bool = False) -> Iterator[None]:
        """A transaction that locks the queue's row, and renews the lease. succeeded: SnapInspect or handlers did."""
        renew = EventQueue.renew_lease_after_success if succeeded else EventQueue.renew_lease
        with transaction.atomic():
            if succeeded and self._had_outage:
                self._queue.note_gap()
                self._had_outage = False
            if renew(self.connection.pk, wait=leases.LEASE, text=self._owner) != 1:
                raise LostLease
            yield
        self._renewed_at = time.monotonic()

    def process(self) -> None:
        """Processes what a killed worker left, then batch after batch of what is due."""
        # Perhaps one of these killed it: one at a time, and the attempt counts before it begins.
        for orphan in self.events.filter(state=Event.State.PROCESSING).order_by("pk"):
            if self._is_over():
                return
            self._process_orphan(orphan)
        due = self.events.due().order_by("next_attempt_at", "pk")
        while not self._is_over():
            rows = list(due.values_list("pk", "type", "inspection_id", "repeat_of")[:BATCH])
            if not rows:
                return
            ids = [pk for pk, *_ in rows]
            if all(attempts.needs_nothing(kind, inspection, repeated) for _, kind, inspection, repeated in rows):
                self._end(ids)
            else:
                self._process(ids)

    def release(self) -> None:
        """Ends the lease. The queue is due again with its next event."""
        with self.atomic():
            _put_back(self.connection.pk)
            for event in _next_open(self.connection.pk):
                # Now at the earliest, which is the end of the line; but not later than a new delivery made it due.
                later = self._queue.filter(Q(due_at=None) | Q(due_at__gt=event.next_attempt_at))
                later.update(due_at=Greatest(Value(event.next_attempt_at), Now()))
            EventQueue.end_lease(self.connection.pk, text=self._owner)

    def _is_over(self) -> bool:
        return self._paused or time.monotonic() > self._ends_at

    def _process_orphan(self, orphan: Event) -> None:
        if orphan.attempts >= Event.MOST_ATTEMPTS:
            self._record(orphan, Outcome(Event.State.FAILED, "worker_died", counts=False), timedelta())
            return
        with self.atomic():
            self.events.filter(pk=orphan.pk).update(attempts=F("attempts") + 1)
        self._attempt(orphan, list(orphan.handler_runs.values_list("handler", flat=True)), counted=True)
        self._flush()

    def _end(self, ids: list[int]) -> None:
        """Ends events with which there is nothing to do.

        They are not claimed first, which would write each row once more: nothing here can kill a worker.
        """
        with self.atomic(succeeded=not settings.SNAPINSPECT_INSPECTION_PATH):
            # Only open ones: somebody may have ignored some.
            self.events.open().filter(pk__in=ids).update(**attempts.changes_of(Outcome(Event.State.DONE)))
            Attempt.objects.insert("event_id", "duration", rows=((pk, timedelta()) for pk in ids))
            outbox.write(self.connection, ids)
        counters.count_event_attempts(Event.State.DONE, len(ids))

    def _process(self, ids: list[int]) -> None:
        with self.atomic():
            ours = self.events.open().filter(pk__in=ids)
            ours.update(state=Event.State.PROCESSING)
        batch = list(self.events.filter(pk__in=ids, state=Event.State.PROCESSING).order_by("next_attempt_at", "pk"))
        done: dict[int, list[str]] = defaultdict(list)
        for pk, handler in HandlerRun.objects.filter(event__in=ids).values_list("event_id", "handler"):
            done[pk].append(handler)
        if settings.SNAPINSPECT_INSPECTION_PATH:
            self._lookups.read_known(batch)
        for event in batch:
            if self._is_over():
                break
            self._attempt(event, done[event.pk])
        self._flush()

    def _attempt(self, event: Event, done: list[str], *, counted: bool = False) -> None:
        if event.repeat_of_id or event.recovered or event.last_error_kind or event.inspection_id in self._looked_up:
            self._flush()  # it is compared with what others have seen
        begun = time.monotonic()
        try:
            outcome = attempts.attempt(
                event, self.connection, done=done, lookups=self._lookups, renew_lease=self._renew_lease
            )
        except (DatabaseError, LostLease):
            raise
        except Exception:
            # A fault of ours with this event: it must not delay the others, nor be tried for ever.
            logger.exception("Processing event %s failed.", event.code)
            outcome = attempts.failed(event, "internal_error")
        if outcome is None:
            return
        duration = timedelta(seconds=time.monotonic() - begun)
        outcome.counts = outcome.counts and not counted
        if self._is_done(outcome) and not counted:
            self._finished.append((event, outcome, duration))
            if outcome.seen is not None:
                self._looked_up.add(event.inspection_id)
            if time.monotonic() - self._renewed_at > WRITE_AFTER:
                self._flush()
        else:
            self._flush()  # what succeeded before it must not end the pause that it may begin
            self._record(event, outcome, duration)

    def _is_done(self, outcome: Outcome) -> bool:
        """Whether nothing but the end of the event has to be written."""
        seen = outcome.seen
        sets_company = seen is not None and bool(seen.company) and not self.connection.company_id
        return outcome.state == Event.State.DONE and not (
            outcome.error_kind or outcome.joins or outcome.keeps_content or sets_company
        )

    def _record(self, event: Event, outcome: Outcome, duration: timedelta) -> None:
        """Writes how an attempt ended."""
        with self.atomic(succeeded=outcome.status is not None and outcome.status < 300):
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
                # Only while it is being processed: somebody may have ignored it.
                self.events.filter(pk=event.pk, state=Event.State.PROCESSING).update(**attempts.changes_of(outcome))
            HandlerRun.objects.insert("event_id", "handler", rows=attempts.runs_of(event, outcome))
            if outcome.state in {Event.State.DONE, Event.State.FAILED} and outcome.joins is None:
                outbox.write(self.connection, [event.pk])
            if outcome.pause is not None:
                self._paused = True
                outage = outcome.error_kind != "too_many_misses"
                self._queue.update(
                    paused_until=Now() + outcome.pause,
                    pause_kind=outcome.error_kind,
                    pauses=F("pauses") + (1 if outage else 0),
                )
        counters.count_event_attempts("joined" if outcome.joins is not None else outcome.state)
        if outcome.seen is not None and outcome.seen.company and not self.connection.company_id:
            self._set_company(outcome.seen.company)

    def _flush(self) -> None:
        """Writes the events that are done: a few statements, however many."""
        finished, self._finished = self._finished, []
        self._looked_up.clear()
        if not finished:
            return
        looked_up = [(event.pk, outcome.seen.columns) for event, outcome, _ in finished if outcome.seen]
        others = [event.pk for event, outcome, _ in finished if outcome.seen is None]
        # Where others are looked up, those that are not say nothing about whether SnapInspect answers.
        with self.atomic(succeeded=bool(looked_up) or not settings.SNAPINSPECT_INSPECTION_PATH):
            if looked_up:
                self.events.finish_looked_up(looked_up)
            if others:
                ours = self.events.filter(pk__in=others, state=Event.State.PROCESSING)
                ours.update(**attempts.changes_of(Outcome(Event.State.DONE)))
            Attempt.objects.insert(
                *("event_id", "duration", "status"),
                rows=((event.pk, duration, outcome.status) for event, outcome, duration in finished),
            )
            HandlerRun.objects.insert(
                *("event_id", "handler"),
                rows=(run for event, outcome, _ in finished for run in attempts.runs_of(event, outcome)),
            )
            outbox.write(self.connection, [event.pk for event, _, _ in finished])
        counters.count_event_attempts(Event.State.DONE, len(finished))

    def _join(self, event: Event, target: Event) -> None:
        """The event repeats another one, which gets its deliveries and its timeline."""
        EventDelivery.objects.filter(event=event).update(event=target)
        Attempt.objects.filter(event=event).update(event=target)
        # If recovery made it and found no change, deliveries that may repeat it are events of their own.
        repeated = None if event.recovered and not target.recovered else target
        Event.objects.filter(repeat_of=event).update(repeat_of=repeated)
        self.events.filter(pk=event.pk).delete()
        if target.recovered and not event.recovered:
            # Now the type of what recovery found is known: handlers of that type still have to run, others have run.
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

    def _set_company(self, company: str) -> None:
        """Saves the company that the API named to this connection's own token; a webhook's body is no proof of it."""
        try:
            with transaction.atomic():
                Connection.objects.filter(pk=self.connection.pk, company_id="").update(company_id=company)
        except IntegrityError:
            # The customer has another connection for this company; a person has to decide which one stays.
            logger.warning("Connection %s is of a company that is connected already.", self.connection.code)
        self.connection.refresh_from_db(fields=["company_id"])

    def _renew_lease(self) -> None:
        if time.monotonic() - self._renewed_at > RENEW_AFTER:
            with self.atomic():
                pass

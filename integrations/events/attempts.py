"""One attempt at one event: look it up, decide whether it is a repetition, run the handlers.

What a look-up shows decides:

    the inspection    the event is verified, and its content kept
    another company   the event is unmatched: the API says whose an inspection is, not a webhook's body
    the same again    an event that may be a repetition (see `duplicates`) joins the one it repeats
    not found         counts as an attempt; after Event.MOST_REFUSALS the event fails: guessed IDs must cost little
    another refusal   counts as an attempt, if SnapInspect accepts the token; else it is an outage
    no answer         an outage: it counts as no attempt, and the queue pauses. But if other events of the queue have
                      succeeded since this one failed like this, the event itself is the cause, and the attempt counts
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from integrations.events import handlers, verification
from integrations.events.handlers import Happening
from integrations.events.verification import LookupResult, Lookups
from integrations.models import Connection, Event, EventQueue, backoff

# Kinds of error that an event itself never causes.
NEVER_BY_EVENT = frozenset({"too_many_requests"})
PAUSE_WITHOUT_ACCESS = timedelta(seconds=30)


@dataclass(slots=True)
class Outcome:
    """How an attempt ended.

    state: RETRYING with the wait `retry_in`, or a final one. counts: whether it is one of Event.MOST_ATTEMPTS. joins:
    the event that this one repeats. pause: how long no other event of the queue is tried. handled: the handlers that
    succeeded. handler: one that failed. keeps_content: handlers have succeeded with what an earlier attempt had seen;
    what this one has seen is news to them, so a delivery about it must not join this event.
    """

    state: Event.State
    error_kind: str = ""
    status: int | None = None
    counts: bool = True
    retry_in: timedelta = timedelta()
    seen: LookupResult | None = None
    joins: Event | None = None
    pause: timedelta | None = None
    handled: list[str] = field(default_factory=list)
    handler: str = ""
    keeps_content: bool = False


def attempt(
    event: Event,
    connection: Connection,
    *,
    done: Collection[str],
    lookups: Lookups,
    renew_lease: Callable[[], None],
) -> Outcome | None:
    """Makes an attempt; None if somebody has ignored the event meanwhile. `leased_queue` changes the event.

    done: handlers that succeeded at an earlier attempt. renew_lease: called before each handler.
    """
    target = _repeat_of(event)
    can_look_up = verification.can_look_up(event.inspection_id)
    if target is not None and (not can_look_up or (target.look_up_is_to_come and not target.recovered)):
        return Outcome(Event.State.DONE, joins=target)
    seen = None
    if can_look_up:
        try:
            seen = lookups.look_up(event.inspection_id)
        except verification.LookupFailed as failure:
            return _look_up_failed(event, failure)
        if seen.company and connection.company_id and seen.company != connection.company_id:
            return Outcome(Event.State.UNMATCHED, "other_company", seen.status)
        if (same := _repeated(event, target, seen)) is not None:
            return Outcome(Event.State.DONE, status=seen.status, joins=same)
    waiting = handlers.pending(event.type, done)
    if waiting and not Event.objects.filter(pk=event.pk, state=Event.State.PROCESSING).exists():
        return None
    outcome = Outcome(Event.State.DONE, status=seen.status if seen else None, seen=seen)
    outcome.keeps_content = bool(done and event.content_sha256)
    for handler in waiting:
        renew_lease()
        if handlers.run(handler, event, _happening(event, connection, seen, handler.name)):
            outcome.handled.append(handler.name)
        else:
            outcome.handler = handler.name
    if outcome.handler:
        outcome.error_kind = "handler_failed"
        _retry_or_fail(event, outcome, Event.MOST_ATTEMPTS)
    return outcome


def needs_nothing(type_: str, inspection_id: str, repeat_of: int | None) -> bool:
    """Whether an attempt at this event would only end it: no look-up, no handler, nothing to compare it with."""
    return repeat_of is None and not verification.can_look_up(inspection_id) and not handlers.pending(type_, ())


def failed(event: Event, error_kind: str) -> Outcome:
    """The outcome of an attempt that counts: another one later, if one is left."""
    outcome = Outcome(Event.State.RETRYING, error_kind)
    _retry_or_fail(event, outcome, Event.MOST_ATTEMPTS)
    return outcome


def changes_of(outcome: Outcome) -> dict[str, Any]:
    """The changes to the event's row after an attempt."""
    changes: dict[str, Any] = {"state": outcome.state, "last_error_kind": outcome.error_kind}
    if outcome.counts:
        changes["attempts"] = F("attempts") + 1
    if outcome.state == Event.State.RETRYING:
        changes["next_attempt_at"] = Now() + outcome.retry_in
    else:
        changes["finished_at"] = Now()
    if outcome.seen is not None:
        changes["proof"] = Event.Proof.VERIFIED
        if not outcome.keeps_content:
            changes |= {**outcome.seen.columns, "fetched_at": Now()}
    elif outcome.state == Event.State.DONE:
        changes["proof"] = Event.Proof.NOT_CHECKED
    if outcome.seen is not None or outcome.state != Event.State.RETRYING:
        # It does not repeat another event, as far as will ever be known: people see it from now on.
        changes["repeat_of"] = None
    return changes


def runs_of(event: Event, outcome: Outcome) -> list[tuple[int, str]]:
    """Rows for handlers that must not run again. A done event is not tried again, unless recovery made it."""
    if outcome.state == Event.State.DONE and not event.recovered:
        return []
    return [(event.pk, handler) for handler in outcome.handled]


def _repeat_of(event: Event) -> Event | None:
    """The event that this one may repeat, read anew: it may have been processed earlier in the same batch."""
    if event.repeat_of_id is not None:
        event.refresh_from_db(fields=["repeat_of"])
    return event.repeat_of


def _repeated(event: Event, target: Event | None, seen: LookupResult) -> Event | None:
    """The event that has this content already; None if the content is new."""
    if not event.recovered:
        return target if target is not None and seen.sha256 == target.content_sha256 else None
    if event.content_sha256:
        return None  # somebody replays it
    # Recovery assumed a change. There was none if this content is known, whatever announced it: a delivery that came
    # during recovery may have been looked up before.
    known = verification.last_known(event.connection_id, event.inspection_id)
    return known if known is not None and known.content_sha256 == seen.sha256 else None


def _look_up_failed(event: Event, failure: verification.LookupFailed) -> Outcome:
    outcome = Outcome(Event.State.RETRYING, failure.kind, failure.status, counts=False)
    if isinstance(failure, verification.LimitReached):
        outcome.pause = verification.WINDOW
    elif isinstance(failure, verification.NoAccess):
        outcome.pause = PAUSE_WITHOUT_ACCESS
    elif isinstance(failure, verification.Outage) and not _is_the_cause(event, failure):
        pauses = EventQueue.objects.values_list("pauses", flat=True).get(pk=event.connection_id)
        outcome.pause = backoff.wait_after_outage(pauses, failure.retry_after)
    if outcome.pause is not None:
        outcome.retry_in = outcome.pause
        return outcome
    _retry_or_fail(
        event, outcome, Event.MOST_REFUSALS if isinstance(failure, verification.NotFound) else Event.MOST_ATTEMPTS
    )
    return outcome


def _retry_or_fail(event: Event, outcome: Outcome, most: int) -> None:
    outcome.counts = True
    outcome.retry_in = backoff.wait_after_attempt(event.attempts)
    outcome.state = Event.State.FAILED if event.attempts + 1 >= most else Event.State.RETRYING


def _is_the_cause(event: Event, failure: verification.Outage) -> bool:
    """Whether it has failed before, and other events of its queue have succeeded since."""
    if failure.kind in NEVER_BY_EVENT or isinstance(failure, verification.AccountOutage):
        return False
    failed_at = event.timeline.exclude(error_kind="").order_by("-pk").values_list("at", flat=True).first()
    return failed_at is not None and EventQueue.objects.filter(pk=event.connection_id, fine_at__gt=failed_at).exists()


def _happening(event: Event, connection: Connection, seen: LookupResult | None, handler: str) -> Happening:
    return Happening(
        key=f"{event.key}:{handler}",
        type=event.type,
        inspection_id=event.inspection_id,
        review_id=event.review_id,
        company_id=(seen.company if seen else "") or event.company_id or connection.company_id,
        connection=connection,
        received_at=event.received_at,
        verified=seen is not None,
        recovered=event.recovered,
        content=seen.content if seen else None,
    )

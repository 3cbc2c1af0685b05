"""One attempt at one event: look it up, see whether it is news, tell the handlers.

What a look-up shows decides:

    the inspection    the event is verified, and its content kept
    another company   the event is unmatched: the API says whose an inspection is, not a webhook's body
    the same again    an event that stood aside as a possible repetition (see `placing`) joins the one it repeats
    a refusal         counts as an attempt, and is given up after the third: guessed IDs are to cost a trickle
    no answer         an outage: it costs no attempt, and the lane pauses. But an event that fails like this again after
                      others of its lane have gone through is the trouble itself, and pays
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from integrations.events import handlers, verification
from integrations.events.handlers import Happening
from integrations.events.verification import Seen
from integrations.models import Connection, Event, EventQueue, backoff

# 10 s, 30 s, 90 s … 2 h: eight attempts span some three hours. Handlers fail mostly while a server of theirs is down.
FIRST_RETRY = timedelta(seconds=10)
LAST_RETRY = timedelta(hours=2)
MOST_REFUSALS = 3
# What says nothing about the event, however often it meets it.
NEVER_ITS_OWN = frozenset({"too_many_requests"})
WITHOUT_ACCESS = timedelta(seconds=30)


@dataclass(slots=True)
class Outcome:
    """How an attempt ended.

    state: RETRYING with the wait `again_in`, or an end. counts: whether it is one of the eight attempts. joins: the
    event that this one repeats. pause: how long nothing else of the lane is worth trying. handled: the handlers that
    have done their part, `handler` one that failed.
    """

    state: Event.State
    error_kind: str = ""
    status: int | None = None
    counts: bool = True
    again_in: timedelta = timedelta()
    seen: Seen | None = None
    joins: Event | None = None
    pause: timedelta | None = None
    handled: list[str] = field(default_factory=list)
    handler: str = ""


def attempt(
    event: Event,
    connection: Connection,
    *,
    done: Iterable[str],
    hold_on: Callable[[], None],
    deadline: float | None = None,
) -> Outcome:
    """Makes an attempt. Writes nothing about the event: that is the lane's job.

    done: handlers that succeeded at an earlier attempt. hold_on: called before whatever may take long. deadline:
    seconds for the look-up, None for as long as any call may take.
    """
    target = _stands_behind(event)
    looks_up = verification.possible(event.inspection_id)
    if target is not None and (not looks_up or (target.look_up_is_to_come and not target.recovered)):
        return Outcome(Event.State.DONE, joins=target)
    seen = None
    if looks_up:
        hold_on()
        try:
            seen = verification.look_up(connection, event.inspection_id, deadline=deadline)
        except verification.NothingSeen as nothing:
            return _nothing_seen(event, nothing)
        if seen.company and connection.company_id and seen.company != connection.company_id:
            return Outcome(Event.State.UNMATCHED, "other_company", seen.status)
        if (same := _told_before(event, target, seen)) is not None:
            return Outcome(Event.State.DONE, status=seen.status, joins=same)
    outcome = Outcome(Event.State.DONE, status=seen.status if seen else None, seen=seen)
    for handler in handlers.waiting(event, done):
        hold_on()
        if handlers.run(handler, event, _happening(event, connection, seen, handler.name)):
            outcome.handled.append(handler.name)
        else:
            outcome.handler = handler.name
    if outcome.handler:
        outcome.error_kind = "handler_failed"
        _retry_or_fail(event, outcome, Event.MOST_ATTEMPTS)
    return outcome


def failed(event: Event, error_kind: str) -> Outcome:
    """An attempt that counts, with the next one in good time if there is one left."""
    outcome = Outcome(Event.State.RETRYING, error_kind)
    _retry_or_fail(event, outcome, Event.MOST_ATTEMPTS)
    return outcome


def retry_wait(attempts: int) -> timedelta:
    """The wait after this many counted attempts: three times as long each time, a fifth of it by chance."""
    wait: timedelta = min(FIRST_RETRY * 3 ** min(attempts, 10), LAST_RETRY)
    return wait * random.uniform(0.8, 1.0)  # noqa: S311  (spreads load, guards nothing)


def _stands_behind(event: Event) -> Event | None:
    """The event that this one may repeat, as it is now: in one batch with it, it may just have been looked up."""
    if event.repeat_of_id is not None:
        event.refresh_from_db(fields=["repeat_of"])
    return event.repeat_of


def _told_before(event: Event, target: Event | None, seen: Seen) -> Event | None:
    """The event that has brought this content already; None if it is news."""
    if not event.recovered:
        return target if target is not None and seen.sha256 == target.content_sha256 else None
    if event.content_sha256:
        return None  # done anew because somebody wants it
    # Recovery suspected a change. There was none if we know just this content, whatever announced it: a delivery that
    # came while recovery was at work may have been looked up before.
    known = verification.last_seen(event.connection_id, event.inspection_id)
    return known if known is not None and known.content_sha256 == seen.sha256 else None


def _nothing_seen(event: Event, nothing: verification.NothingSeen) -> Outcome:
    outcome = Outcome(Event.State.RETRYING, nothing.kind, nothing.status, counts=False)
    if isinstance(nothing, verification.Limited):
        outcome.pause = verification.WINDOW
    elif isinstance(nothing, verification.NoAccess):
        outcome.pause = WITHOUT_ACCESS
    elif isinstance(nothing, verification.Outage) and (nothing.kind in NEVER_ITS_OWN or not _is_the_trouble(event)):
        pauses = EventQueue.objects.values_list("pauses", flat=True).get(pk=event.connection_id)
        outcome.pause = backoff.asked(pauses, nothing.retry_after)
    if outcome.pause is not None:
        outcome.again_in = outcome.pause
        return outcome
    _retry_or_fail(event, outcome, MOST_REFUSALS if isinstance(nothing, verification.Refused) else Event.MOST_ATTEMPTS)
    return outcome


def _retry_or_fail(event: Event, outcome: Outcome, most: int) -> None:
    outcome.counts = True
    outcome.again_in = retry_wait(event.attempts)
    outcome.state = Event.State.FAILED if event.attempts + 1 >= most else Event.State.RETRYING


def _is_the_trouble(event: Event) -> bool:
    """Whether it has failed before, and other events of its lane have gone through since."""
    failed_at = event.timeline.exclude(error_kind="").order_by("-pk").values_list("at", flat=True).first()
    return failed_at is not None and EventQueue.objects.filter(pk=event.connection_id, fine_at__gt=failed_at).exists()


def _happening(event: Event, connection: Connection, seen: Seen | None, handler: str) -> Happening:
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

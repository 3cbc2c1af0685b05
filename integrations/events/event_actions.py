"""What people do with events: replay or ignore them."""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations.models import Connection, Event, EventQueue, HandlerRun, State


def replay(event: Event, *, by: audit.Actor) -> bool:
    """Has a finished event processed again; False, without a change, if it is open or its connection disconnected.

    After a failure, handlers that succeeded are not run again. An event that was done starts from the beginning: all
    handlers run, with a new idempotency key.
    """
    with transaction.atomic():
        if Connection.objects.filter(pk=event.connection_id, state=State.DISCONNECTED).exists():
            return False
        changed = reset([event])
        if changed:
            _audit("event.replayed", event, by)
    return bool(changed)


def reset(events: Sequence[Event]) -> int:
    """Has the finished ones of these events processed again, as `replay` says; returns how many those were.

    Call it in a transaction, with a few hundred at most. Writes no audit entry.
    """
    EventQueue.objects.wake({event.connection_id for event in events})
    finished = Event.objects.filter(pk__in=[event.pk for event in events]).exclude(state__in=Event.OPEN)
    done = list(finished.filter(state=Event.State.DONE).values_list("pk", flat=True))
    HandlerRun.objects.filter(event__in=done).delete()
    Event.objects.filter(pk__in=done).update(replays=F("replays") + 1)
    return finished.update(
        state=Event.State.RECEIVED, attempts=0, next_attempt_at=Now(), finished_at=None, last_error_kind=""
    )


def ignore(event: Event, *, by: User) -> bool:
    """Ignores an event that is unfinished, failed or unmatched; whether it was one of these."""
    before = [*Event.OPEN, Event.State.FAILED, Event.State.UNMATCHED]
    with transaction.atomic():
        changed = Event.objects.filter(pk=event.pk, state__in=before).update(
            state=Event.State.IGNORED, finished_at=Now(), repeat_of=None
        )
        if changed:
            _audit("event.ignored", event, by)
    return bool(changed)


def _audit(kind: str, event: Event, by: audit.Actor) -> None:
    connection = Connection.objects.select_related("customer").get(pk=event.connection_id)
    audit.record(kind, customer=connection.customer, actor=by, subject=connection.code, event=event.code)

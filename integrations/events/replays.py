"""Replays of many events, those of a filter: counted first, then processed in bounded steps.

A step is one transaction, so after a killed worker the next one continues with a whole number of steps done. One replay
resets no event twice: it goes through the list once, from the oldest event to the latest that existed when it started.
While MOST_WAITING of the customer's events are due, no more are added: so new events and Cancel are not delayed for
long, and other customers' events are processed in between.
"""

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts import audit
from accounts.models import Customer, User
from integrations.events import event_actions, routing
from integrations.events.selection import Matching, Selection
from integrations.models import Event, NamedLock, Replay

# Counting many rows takes a while; nobody needs a larger number.
MOST_COUNTED = 100_000
STEP = 200
MOST_WAITING = 400


def count(customer: Customer, chosen: Selection) -> int:
    """How many events would be replayed; MOST_COUNTED + 1 stands for more than MOST_COUNTED."""
    return chosen.of(customer, to_replay=True).count(MOST_COUNTED)


def counts(customer: Customer, chosen: Selection) -> dict[str, int]:
    """`count`; without any, `excluded`: how many events match and cannot be replayed, counted alike."""
    found = count(customer, chosen)
    return {"count": found, "excluded": 0 if found else chosen.of(customer).count(MOST_COUNTED)}


def start(customer: Customer, chosen: Selection, *, by: User) -> Replay | None:
    """Starts a replay of these events; None if another one of this customer is running."""
    last = Event.objects.order_by("-pk").values_list("pk", flat=True).first()
    replay = Replay(
        customer=customer, by=by, selection=chosen.plain, matched=count(customer, chosen), last_event=last or 0
    )
    try:
        with transaction.atomic():
            replay.save()
            audit.record("replay.started", customer=customer, actor=by, matched=replay.matched, **chosen.plain)
    except IntegrityError:
        return None
    return replay


def cancel(replay: Replay, *, by: User) -> bool:
    """Ends a replay; whether it was still running."""
    with transaction.atomic():
        ended = Replay.objects.running().filter(pk=replay.pk)
        cancelled = ended.update(finished_at=Now(), is_cancelled=True, cancelled_by=by) == 1
        if cancelled:
            replay.refresh_from_db()
            audit.record("replay.cancelled", customer=replay.customer, actor=by, replayed=replay.replayed)
    return cancelled


def step(replay_id: int) -> bool:
    """Resets the next STEP events; whether another step makes sense at once."""
    replay = Replay.objects.running().select_related("customer").filter(pk=replay_id).first()
    if replay is None:
        return False
    matching = Selection.from_plain(replay.selection).of(replay.customer, to_replay=True)
    if _enough_waiting(matching):
        return False
    with transaction.atomic():
        NamedLock.objects.lock(routing.LOCK)
        found = matching.until(replay.last_event).oldest(STEP, after=replay.place)
        place = {"at": found[-1].received_at, "at_event": found[-1].pk} if found else {"finished_at": Now()}
        # Changes no row if another worker has done this step, or somebody has cancelled.
        mine = Replay.objects.running().filter(pk=replay.pk, steps=replay.steps)
        if mine.update(steps=F("steps") + 1, **place) != 1:
            return False
        if not found:
            audit.record("replay.finished", customer=replay.customer, replayed=replay.replayed, skipped=replay.skipped)
            return False
        replayed = event_actions.reset(found)
        counted = {"replayed": F("replayed") + replayed, "skipped": F("skipped") + len(found) - replayed}
        Replay.objects.filter(pk=replay.pk).update(**counted)
    return True


def _enough_waiting(matching: Matching) -> bool:
    """Whether MOST_WAITING of these connections' events are due."""
    waiting = Event.objects.due().filter(connection__in=matching.connections)
    return waiting.order_by()[:MOST_WAITING].count() == MOST_WAITING

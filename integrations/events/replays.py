"""Having many events processed again, those of a filter: counted first, then worked off in bounded steps.

A step is one transaction, so a killed worker leaves a whole number of steps behind, and the next worker goes on from
there. No event is replayed twice by one replay: it goes through the list once, from the oldest event to the newest that
there was when it started. While many of the customer's events wait to be worked on, no more are added: new ones come
soon, Cancel ends it soon, and other customers' events have their turn in between.
"""

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.models import Customer, User
from integrations.events import parked
from integrations.events.selection import Matching, Selection
from integrations.models import Event, NamedLock, Replay

# Counting many rows takes a while; beyond this nobody needs the number.
MOST_COUNTED = 100_000
STEP = 200
MOST_WAITING = 400


def count(customer: Customer, chosen: Selection) -> int:
    """How many events a replay would be about; MOST_COUNTED + 1 stands for more than MOST_COUNTED."""
    return chosen.of(customer, to_replay=True).count(MOST_COUNTED)


def start(customer: Customer, chosen: Selection, *, by: User) -> Replay | None:
    """A replay of these events, to be worked off by the workers; None if another one of this customer is running."""
    last = Event.objects.order_by("-pk").values_list("pk", flat=True).first()
    begun = Replay(
        customer=customer, by=by, selection=chosen.plain, matched=count(customer, chosen), last_event=last or 0
    )
    try:
        with transaction.atomic():
            begun.save()
            audit.record("replay.started", customer=customer, actor=by, matched=begun.matched, **chosen.plain)
    except IntegrityError:
        return None
    return begun


def cancel(replay: Replay, *, by: User) -> bool:
    """Replays no further event; whether it was still running."""
    with transaction.atomic():
        ended = Replay.objects.running().filter(pk=replay.pk)
        cancelled = ended.update(finished_at=Now(), is_cancelled=True, cancelled_by=by) == 1
        if cancelled:
            replay.refresh_from_db()
            audit.record("replay.cancelled", customer=replay.customer, actor=by, replayed=replay.replayed)
    return cancelled


def running() -> "QuerySet[Replay]":
    """Those that a worker has to go on with."""
    return Replay.objects.running().order_by("pk")


def step(replay_id: int) -> bool:
    """Replays the next few events; whether it makes sense to go on at once."""
    replay = Replay.objects.running().select_related("customer").filter(pk=replay_id).first()
    if replay is None:
        return False
    matching = Selection.from_plain(replay.selection).of(replay.customer, to_replay=True)
    if _many_wait(matching):
        return False
    with transaction.atomic():
        # Placing locks several lanes as well: in turn, so that neither waits for what the other holds.
        NamedLock.objects.take("placing")
        found = matching.until(replay.last_event).oldest(STEP, after=replay.place)
        place = {"at": found[-1].received_at, "at_event": found[-1].pk} if found else {"finished_at": Now()}
        # Another worker that has begun the same step finds it taken; so does one that comes after Cancel.
        mine = Replay.objects.running().filter(pk=replay.pk, steps=replay.steps)
        if mine.update(steps=F("steps") + 1, **place) != 1:
            return False
        if not found:
            audit.record("replay.finished", customer=replay.customer, replayed=replay.replayed, skipped=replay.skipped)
            return False
        replayed = parked.process_again(found)
        counted = {"replayed": F("replayed") + replayed, "skipped": F("skipped") + len(found) - replayed}
        Replay.objects.filter(pk=replay.pk).update(**counted)
    return True


def _many_wait(matching: Matching) -> bool:
    """Whether the customer's workers have enough to do for now, or cannot do it."""
    waiting = Event.objects.due().filter(connection__in=matching.connections)
    return waiting.order_by()[:MOST_WAITING].count() == MOST_WAITING

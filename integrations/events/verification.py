"""One look at an inspection, with the customer's own token: what a webhook's body only claims.

Look-ups that come to nothing are limited per customer: ten in any window of WINDOW, so that any minute, which touches
at most six windows, holds at most sixty. A place is taken before SnapInspect is asked and given back when it answers,
or does not answer at all: guessed IDs cost a trickle, and neither real inspections nor outages cost anything."""

import json
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from integrations.calls import api_client
from integrations.models import Connection, Event, LookupLimit
from integrations.snapinspect import webhook_body
from integrations.snapinspect.json_answers import Json

WINDOW = timedelta(seconds=12)
MOST_IN_A_WINDOW = 10
# Something came, but nothing about this inspection: that says nothing about the API as a whole.
_GARBLED = frozenset({"not_json", "not_text", "too_large", "wrong_shape"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What SnapInspect showed. company: that its content names, empty if none. text: canonical JSON. status: HTTP."""

    content: Json = field(repr=False)
    text: str = field(repr=False)
    sha256: str
    company: str
    status: int


class NothingSeen(Exception):
    """A look-up without content. kind: fit for data. status: HTTP, None without an answer. retry_after: seconds that
    SnapInspect asked us to wait."""

    def __init__(self, kind: str, status: int | None = None, retry_after: float = 0.0) -> None:
        super().__init__(kind)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


class Refused(NothingSeen):
    """SnapInspect knows of no such inspection for this customer, or answers rubbish about it."""


class Outage(NothingSeen):
    """SnapInspect does not answer: nothing of this connection is worth trying for a while."""


class NoAccess(NothingSeen):
    """There is no token that works: a person has to reconnect."""


class Limited(NothingSeen):
    """This customer's look-ups have come to nothing too often; not asked."""


def possible(inspection_id: str) -> bool:
    """Whether anything can be asked at all."""
    return bool(inspection_id and settings.SNAPINSPECT_INSPECTION_PATH)


def look_up(connection: Connection, inspection_id: str, *, deadline: float | None) -> Seen:
    """The inspection as it is now, or as we last saw it where SnapInspect's answer is older by its own word.

    deadline: seconds, as in `health.get`. Raises the four kinds of NothingSeen.
    """
    path = settings.SNAPINSPECT_INSPECTION_PATH.format(inspection_id=inspection_id)
    window = _take(connection.customer_id)
    if window is None:
        raise Limited("too_many_misses")
    try:
        answer = api_client.get(connection, path, deadline=deadline)
    except api_client.NoAnswer as no:
        if no.error_kind in _GARBLED or (no.status is not None and not no.is_outage):
            raise Refused(no.error_kind, no.status) from None
        _give_back(connection.customer_id, window)
        raise (Outage if no.is_outage else NoAccess)(no.error_kind, no.status, no.retry_after) from None
    _give_back(connection.customer_id, window)
    text, sha256 = webhook_body.canonical(answer.json)
    seen = Seen(answer.json, text, sha256, webhook_body.company_of(answer.json), answer.status)
    return _newer_of(seen, connection, inspection_id)


def last_seen(connection_id: int, inspection_id: str) -> Event | None:
    """The event that brought the newest content of this inspection that we know."""
    found = Event.objects.with_content().filter(connection=connection_id, inspection_id=inspection_id)
    return found.order_by("-fetched_at", "-pk").first()


def _newer_of(seen: Seen, connection: Connection, inspection_id: str) -> Seen:
    known = last_seen(connection.pk, inspection_id)
    if known is None or known.content_sha256 == seen.sha256:
        return seen
    content = json.loads(known.content)
    before, now = webhook_body.changed_at(content), webhook_body.changed_at(seen.content)
    if before is None or now is None or now >= before:
        return seen
    return Seen(content, known.content, known.content_sha256, webhook_body.company_of(content), seen.status)


def _take(customer_id: int) -> int | None:
    """The window in which a place was taken; None when there is none left. The database's clock counts."""
    mine = LookupLimit.objects.filter(customer=customer_id)
    fresh = mine.filter(window_began_at__gt=Now() - WINDOW, used__lt=MOST_IN_A_WINDOW)
    over = mine.filter(window_began_at__lte=Now() - WINDOW)
    if fresh.update(used=F("used") + 1) or over.update(window=F("window") + 1, window_began_at=Now(), used=1):
        return mine.values_list("window", flat=True).get()
    if mine.exists():
        return None
    LookupLimit.objects.bulk_create([LookupLimit(customer_id=customer_id)], ignore_conflicts=True)
    return _take(customer_id)


def _give_back(customer_id: int, window: int) -> None:
    # A window that is over keeps its count.
    LookupLimit.objects.filter(customer=customer_id, window=window, used__gt=0).update(used=F("used") - 1)

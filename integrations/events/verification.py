"""Looks an inspection up with the customer's own token, since a webhook's body proves nothing.

An answer without the inspection may be about this inspection alone, or about the whole account: maintenance pages come
with any status. Unless it says "not found", `/user` is asked with the same token. If that works, the answer is about
this inspection; if not, it is an outage.

Failed look-ups are limited per customer: MOST_IN_A_WINDOW in any window of WINDOW, so that any minute, which touches at
most six windows, has at most sixty, and those that are under way when the limit is reached: one for each connection at
most. Guessed IDs cost little; real inspections, outages and look-ups under way count for nothing.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta

from django.conf import settings
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from integrations.calls import api_client, health_check
from integrations.calls.api_client import NoAnswer
from integrations.models import Connection, Event, LookupLimit
from integrations.snapinspect import error_answers, inspection_content
from integrations.snapinspect.client import Answer
from integrations.snapinspect.json_answers import Json

WINDOW = timedelta(seconds=12)
MOST_IN_A_WINDOW = 10
# An answer came, and no inspection in it. They have no HTTP status, or 2xx.
_GARBLED = frozenset({
    "not_json", "not_text", "too_large", "wrong_shape", "reported_failure", "no_inspection", "other_inspection",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class LookupResult:
    """An inspection. company: that its content names, empty if none. text: canonical JSON. status: HTTP.

    title, inspection_status: the inspection's own, empty if it has none. previous_status: the one that we knew
    before, if it was another.
    """

    content: Json = field(repr=False)
    text: str = field(repr=False)
    sha256: str
    company: str
    status: int
    title: str
    inspection_status: str
    previous_status: str = ""

    @property
    def columns(self) -> dict[str, str]:
        """What is stored of it in an event, see models.events.LOOKED_UP."""
        return {
            "content": self.text,
            "content_sha256": self.sha256,
            "inspection_title": self.title,
            "inspection_status": self.inspection_status,
            "previous_status": self.previous_status,
        }


class LookupFailed(Exception):
    """No content. kind: kind of error. status: HTTP, None without an answer. retry_after: seconds that SnapInspect
    asked us to wait."""

    def __init__(self, kind: str, status: int | None = None, retry_after: float = 0.0) -> None:
        super().__init__(kind)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


class NotFound(LookupFailed):
    """SnapInspect knows no such inspection of this customer."""


class Refused(LookupFailed):
    """SnapInspect accepts the token and does not hand out this inspection."""


class Outage(LookupFailed):
    """SnapInspect does not answer: no event of this connection should be tried for a while."""


class AccountOutage(Outage):
    """SnapInspect does not answer `/user` either: no event is the cause."""


class NoAccess(LookupFailed):
    """There is no working token: a person has to reconnect."""


class LimitReached(LookupFailed):
    """Too many look-ups of this customer failed: SnapInspect was not asked."""


def can_look_up(inspection_id: str) -> bool:
    return bool(inspection_id and settings.SNAPINSPECT_INSPECTION_PATH)


class Lookups:
    """Look-ups of a connection whose queue the caller has leased. Nobody else looks its inspections up meanwhile.

    So what is known of a batch is read at once, and whether the customer's limit is reached is asked again only after
    a look-up of this connection has failed. renew_lease: called before whatever may take long.
    """

    def __init__(self, connection: Connection, *, renew_lease: Callable[[], None]) -> None:
        self._connection = connection
        self._renew_lease = renew_lease
        self._known: dict[str, str | None] = {}
        self._may_ask = False

    def read_known(self, events: Collection[Event]) -> None:
        """Reads what is known of the inspections of these events, for the first look-up of each."""
        newest = _newest_content().filter(connection=OuterRef("connection"), inspection_id=OuterRef("inspection_id"))
        rows = Event.objects.filter(pk__in=[event.pk for event in events]).order_by()
        self._known = dict(rows.values_list("inspection_id", Subquery(newest.values("content_sha256")[:1])))

    def look_up(self, inspection_id: str) -> LookupResult:
        """The inspection as it is now, or the content we have where SnapInspect's answer has an older time of change.

        Raises LookupFailed.
        """
        path = settings.SNAPINSPECT_INSPECTION_PATH.format(inspection_id=inspection_id)
        customer_id = self._connection.customer_id
        if not self._may_ask and _is_limited(customer_id):
            raise LimitReached("too_many_misses")
        self._may_ask = True
        self._renew_lease()
        try:
            answer = _inspection(self._connection, path, inspection_id)
        except NoAnswer as no:
            failure = _failure(self._connection, no, self._renew_lease)
            if isinstance(failure, NotFound | Refused):
                _count_failure(customer_id)
                self._may_ask = False
            raise failure from None
        text, sha256 = inspection_content.canonical(answer.json)
        seen = _result(answer.json, text, sha256, answer.status)
        # Once: what is known changes with this look-up.
        if self._known.pop(inspection_id, "") is None:
            return seen
        return _newer_of(seen, self._connection, inspection_id)


def _result(content: Json, text: str, sha256: str, status: int) -> LookupResult:
    return LookupResult(
        content=content,
        text=text,
        sha256=sha256,
        company=inspection_content.company_of(content),
        status=status,
        title=inspection_content.title_of(content, settings.SNAPINSPECT_TITLE_FIELD)[: Event.TITLE_LENGTH].rstrip(),
        inspection_status=inspection_content.status_of(content)[: Event.STATUS_LENGTH].rstrip(),
    )


def _inspection(connection: Connection, path: str, inspection_id: str) -> Answer:
    """The answer, if it is an inspection and does not name another one. Raises NoAnswer."""
    answer = api_client.get(connection, path)
    named = inspection_content.inspections_of(answer.json)
    kind = ""
    if not isinstance(answer.json, dict) or not error_answers.content(answer.json):
        kind = "no_inspection"
    elif error_answers.problem(answer.json, is_identified=bool(named)):
        kind = "reported_failure"
    elif named and inspection_id not in named:
        kind = "other_inspection"
    if kind:
        raise NoAnswer(kind, is_outage=False, status=answer.status)
    return answer


def _failure(connection: Connection, no: NoAnswer, renew_lease: Callable[[], None]) -> LookupFailed:
    """What a look-up without an inspection means."""
    if no.error_kind == "not_found":
        return NotFound(no.error_kind, no.status)
    if no.error_kind not in _GARBLED and (no.status is None or no.is_outage):
        return (Outage if no.is_outage else NoAccess)(no.error_kind, no.status, no.retry_after)
    renew_lease()
    verdict = health_check.check(connection)
    if verdict.profile is not None:
        return Refused(no.error_kind, no.status)
    if verdict.refused or verdict.error_kind == "nothing_kept":
        return NoAccess(verdict.error_kind)
    return AccountOutage(verdict.error_kind, retry_after=verdict.retry_after)


def last_known(connection_id: int, inspection_id: str) -> Event | None:
    """The event with the newest content of this inspection."""
    return _newest_content().filter(connection=connection_id, inspection_id=inspection_id).first()


def _newest_content() -> "QuerySet[Event]":
    return Event.objects.with_content().order_by("-fetched_at", "-pk")


def _newer_of(seen: LookupResult, connection: Connection, inspection_id: str) -> LookupResult:
    known = last_known(connection.pk, inspection_id)
    if known is None:
        return seen
    if known.content_sha256 == seen.sha256:
        return replace(seen, previous_status=known.previous_status)
    content = json.loads(known.content)
    before, now = inspection_content.changed_at(content), inspection_content.changed_at(seen.content)
    if before is None or now is None or now >= before:
        old = known.inspection_status
        return replace(seen, previous_status=old if old != seen.inspection_status else "")
    newer = _result(content, known.content, known.content_sha256, seen.status)
    return replace(newer, previous_status=known.previous_status)


def _is_limited(customer_id: int) -> bool:
    full = LookupLimit.objects.filter(customer=customer_id, used__gte=MOST_IN_A_WINDOW)
    return full.filter(window_began_at__gt=Now() - WINDOW).exists()


def _count_failure(customer_id: int) -> None:
    """Counts one in the customer's window, or in a new one. Uses the database's clock."""
    mine = LookupLimit.objects.filter(customer=customer_id)
    if mine.filter(window_began_at__gt=Now() - WINDOW).update(used=F("used") + 1):
        return
    if mine.filter(window_began_at__lte=Now() - WINDOW).update(window_began_at=Now(), used=1):
        return
    # The first one ever, or another worker has begun a window at this moment.
    LookupLimit.objects.bulk_create([LookupLimit(customer_id=customer_id)], ignore_conflicts=True)
    mine.update(used=F("used") + 1)

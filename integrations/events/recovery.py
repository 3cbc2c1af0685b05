"""After a long outage: asks SnapInspect what has changed, and makes the events that nobody announced to us.

SnapInspect drops a message two hours after its first try. The sweep notices silences that are long enough for that
(our workers stood still, a connection had no access or no answer) and notes them on the connection's lane as a gap; a
gap is closed by listing what changed since, through SNAPINSPECT_CHANGES_PATH. Without that setting nothing can be
listed: gaps stay noted, until there is one.

Nothing is doubled. An inspection whose look-up is still to come needs no event. One that we have content of gets an
event which stands aside until a look-up has shown whether anything changed since (see `placing`). And SnapInspect's
late tries join the event that recovery has made."""

import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from integrations.calls import api_client
from integrations.events import queue
from integrations.models import USABLE, Connection, Event, EventQueue, NamedLock, backoff
from integrations.snapinspect import safe_urls, webhook_body
from integrations.snapinspect.errors import BadPath
from integrations.snapinspect.json_answers import Json

logger = logging.getLogger(__name__)

MOST_PAGES = 500
MARGIN = timedelta(minutes=15)  # for clocks that differ, and for changes listed late
FURTHEST_BACK = timedelta(days=31)
# What was missed about an inspection never seen before is its upload; otherwise nobody knows what it was.
FIRST_SEEN = "Create_Inspection"
CHANGED = "Inspection_Changed"


@dataclass(slots=True)
class Report:
    """listed: inspections that SnapInspect named. made: events to look at. flag: why the list may be incomplete."""

    listed: int = 0
    made: int = 0
    pages: int = 0
    flag: str = ""


def possible() -> bool:
    return bool(settings.SNAPINSPECT_CHANGES_PATH)


def due() -> "QuerySet[EventQueue]":
    """Lanes with a gap that can be closed now."""
    if not possible():
        return EventQueue.objects.none()
    return EventQueue.objects.with_gap().unleased().awake().filter(connection__state__in=USABLE).order_by("gap_since")


def close_gap(lane_id: int) -> None:
    """Recovers what a lane has missed since its gap began; tries again later if SnapInspect does not answer."""
    gap = EventQueue.objects.with_gap().filter(pk=lane_id)
    since = gap.values_list("gap_since", flat=True).first()
    if since is None:
        return
    try:
        recover(Connection.objects.get(pk=lane_id), since=max(since - MARGIN, timezone.now() - FURTHEST_BACK))
        gap.update(gap_since=None)
    except queue.LostLane:
        logger.info("Left the gap of lane %s to whoever has the lane now.", lane_id)
    except api_client.NoAnswer as no:
        wait = backoff.asked(EventQueue.objects.values_list("pauses", flat=True).get(pk=lane_id), no.retry_after)
        gap.update(paused_until=Now() + wait, pauses=F("pauses") + 1, pause_kind=no.error_kind)


def recover(connection: Connection, *, since: datetime, dry_run: bool = False) -> Report:
    """Makes events of what SnapInspect lists as changed since then and nobody announced.

    Raises health.NoAnswer, and lanes.LostLane when a worker is busy with this connection.
    """
    shift = queue.take(EventQueue.objects.filter(pk=connection.pk)) if not dry_run else None
    if shift is None and not dry_run:
        raise queue.LostLane
    report = Report()
    try:
        _read_pages(connection, since, report, shift)
    finally:
        if shift is not None:
            shift.end()
    if not dry_run:
        audit.record(
            "recovery.done",
            customer=connection.customer,
            subject=connection.code,
            since=since.isoformat(),
            listed=report.listed,
            made=report.made,
            flag=report.flag,
        )
    if report.flag:
        logger.warning("Recovery for connection %s may be incomplete: %s.", connection.code, report.flag)
    return report


def note_silence() -> None:
    """Notes a gap on every lane when no worker has swept for long. Part of the sweep."""
    mine = NamedLock.objects.filter(name="sweep")
    if mine.filter(taken_at__gt=Now() - timedelta(minutes=1)).exists():
        return
    with transaction.atomic():
        silent_since = mine.filter(taken_at__lt=Now() - EventQueue.GAP).values_list("taken_at", flat=True).first()
        if silent_since is not None:
            EventQueue.objects.filter(gap_since=None).update(gap_since=silent_since)
            logger.warning("No worker has swept since %s: looking for what was missed.", silent_since)
        NamedLock.objects.take("sweep")


def _read_pages(connection: Connection, since: datetime, report: Report, shift: queue.Shift | None) -> None:
    path = settings.SNAPINSPECT_CHANGES_PATH.format(since=since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    read: set[str] = set()
    known: set[str] = set()
    while path:
        if path in read or report.pages == MOST_PAGES:
            report.flag = "its pages go in a circle" if path in read else f"more than {MOST_PAGES} pages"
            return
        read.add(path)
        page = api_client.get(connection, path).json
        report.pages += 1
        ids = [inspection for inspection in webhook_body.listed(page) if inspection not in known]
        known.update(ids)
        report.listed += len(ids)
        if shift is None:
            report.made += len(_missing(connection, ids, since))
        else:
            with shift.writing(fine=True):
                made = _missing(connection, ids, since)
                Event.objects.bulk_create(made)
                EventQueue.objects.call([connection.pk])
            report.made += len(made)
        try:
            path = _next_path(page)
        except BadPath:
            report.flag = "its next page leads elsewhere"
            return


def _next_path(page: Json) -> str:
    link = webhook_body.next_link(page)
    if "://" in link:
        return safe_urls.relative_to(settings.SNAPINSPECT_API_URL, link)
    return link


def _missing(connection: Connection, inspections: list[str], since: datetime) -> list[Event]:
    """Events for those of these inspections that may have changed without our knowing."""
    ours = Event.objects.filter(connection=connection, inspection_id__in=inspections).order_by()
    covered = set(ours.open().values_list("inspection_id", flat=True))
    seen = set(ours.values_list("inspection_id", flat=True).distinct())
    newest = {}
    if settings.SNAPINSPECT_INSPECTION_PATH:
        with_content = ours.with_content().values("inspection_id").annotate(n=Max("pk")).values_list("n", flat=True)
        newest = {event.inspection_id: event for event in Event.objects.filter(pk__in=with_content).defer("content")}
    else:
        # Nothing can be compared: what was announced since then is taken to be what is listed now.
        covered |= set(ours.filter(received_at__gte=since).values_list("inspection_id", flat=True))
    return [
        Event(
            connection=connection,
            type=CHANGED if inspection in seen else FIRST_SEEN,
            inspection_id=inspection,
            company_id=connection.company_id,
            body_sha256=hashlib.sha256(f"recovered {inspection}".encode()).hexdigest(),
            received_at=timezone.now(),
            recovered=True,
            repeat_of=newest.get(inspection),
        )
        for inspection in inspections
        if inspection not in covered
    ]

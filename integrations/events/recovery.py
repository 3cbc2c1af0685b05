"""After a long outage: asks SnapInspect what has changed, and makes the events that no webhook announced.

SnapInspect drops a message two hours after its first try. Silences that are long enough for that (no worker or no web
process ran, a connection had no access or no answer) are noted on the connection's queue as a gap. A worker closes a
gap by listing what changed since, through SNAPINSPECT_CHANGES_PATH. Without that setting nothing can be listed: gaps
stay noted until there is one.

Nothing is doubled. An inspection whose look-up is still to come needs no event. One that we have content of gets an
event with `repeat_of` set, until a look-up shows whether anything changed (see `duplicates`). And SnapInspect's late
tries join the event that recovery has made.
"""

import hashlib
import logging
import threading
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import Max, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from integrations.calls import api_client
from integrations.events import leased_queue, queue, routing
from integrations.models import USABLE, Connection, Event, EventQueue, NamedLock, backoff
from integrations.snapinspect import inspection_content, safe_urls
from integrations.snapinspect.errors import BadPath
from integrations.snapinspect.json_answers import Json

logger = logging.getLogger(__name__)

MOST_PAGES = 500
MARGIN = timedelta(minutes=15)  # for clocks that differ, and for changes listed late
FURTHEST_BACK = timedelta(days=31)
# The type of a missed event: an unknown inspection was uploaded; what happened to a known one cannot be told.
FIRST_SEEN = "Create_Inspection"
CHANGED = "Inspection_Changed"
# Kinds of processes whose outages are noted, and how often each notes that it runs.
WORKER, WEB = "sweep", "web"
NOTED_EVERY = timedelta(minutes=1)


@dataclass(slots=True)
class Report:
    """listed: inspections that SnapInspect named. made: events created. flag: why the list may be incomplete."""

    listed: int = 0
    made: int = 0
    pages: int = 0
    flag: str = ""


def is_configured() -> bool:
    return bool(settings.SNAPINSPECT_CHANGES_PATH)


def due() -> "QuerySet[EventQueue]":
    """Queues with a gap that can be closed now."""
    if not is_configured():
        return EventQueue.objects.none()
    return (
        EventQueue.objects.with_gap_due()
        .unleased()
        .unpaused()
        .filter(connection__state__in=USABLE)
        .order_by("gap_since")
    )


def close_gap(queue_id: int) -> None:
    """Recovers what a queue missed since its gap began; if that cannot be listed now, it is tried again later.

    The queue is not paused: events are looked up at other paths than the list's.
    """
    gap = EventQueue.objects.with_gap().filter(pk=queue_id)
    since = gap.values_list("gap_since", flat=True).first()
    if since is None:
        return
    try:
        recover(Connection.objects.get(pk=queue_id), since=max(since - MARGIN, timezone.now() - FURTHEST_BACK))
        # An outage may have been noted meanwhile, with a gap that began earlier.
        gap.filter(gap_since=since).update(gap_since=None, gap_tries=0, gap_retry_at=None)
    except leased_queue.LostLease:
        logger.info("Did not close the gap of queue %s: another worker has its lease.", queue_id)
    except api_client.NoAnswer as no:
        tries = EventQueue.objects.values_list("gap_tries", flat=True).get(pk=queue_id)
        wait = backoff.wait_after_outage(tries, no.retry_after)
        gap.update(gap_retry_at=Now() + wait, gap_tries=min(tries + 1, 1000))
        logger.warning("What queue %s has missed cannot be listed (%s); try %s.", queue_id, no.error_kind, tries + 1)


def recover(connection: Connection, *, since: datetime, dry_run: bool = False) -> Report:
    """Makes events of what SnapInspect lists as changed since then and no webhook announced.

    dry_run: only counts. Raises api_client.NoAnswer, and leased_queue.LostLease when another worker has the queue.
    """
    report = Report()
    with nullcontext() if dry_run else queue.claimed(connection.pk) as leased:
        if leased is None and not dry_run:
            raise leased_queue.LostLease
        try:
            _read_pages(connection, since, report, leased)
        finally:
            if leased is not None:
                leased.release()
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


def note_outage(kind: str) -> None:
    """Notes that a process of this kind runs, and a gap on every queue if none has for EventQueue.GAP.

    A process of that kind itself calls it, once a minute or more often: so the gap is noted when the outage is over,
    and what SnapInspect lists then includes all of it.
    """
    seen = NamedLock.objects.filter(name=kind)
    if seen.filter(taken_at__gt=Now() - NOTED_EVERY).exists():
        return
    with transaction.atomic():
        silent_since = seen.filter(taken_at__lt=Now() - EventQueue.GAP).values_list("taken_at", flat=True).first()
        if silent_since is not None:
            later = Q(gap_since=None) | Q(gap_since__gt=silent_since)
            EventQueue.objects.filter(later).update(gap_since=silent_since, gap_retry_at=None)
            logger.warning("Nothing of ours (%s) ran since %s: looking for what was missed.", kind, silent_since)
        NamedLock.objects.lock(kind)


def start_noting_web() -> None:
    """Starts a thread that calls `note_outage` for this web process until it ends."""
    threading.Thread(target=_note_web, name="web-outages", daemon=True).start()


def _note_web() -> None:
    pause = threading.Event()
    while True:
        try:
            note_outage(WEB)
        except (DatabaseError, InterfaceError) as problem:
            logger.warning("It cannot be noted that a web process runs (%s).", type(problem).__name__)
        finally:
            connections.close_all()  # this thread rarely needs one
        pause.wait(NOTED_EVERY.total_seconds())


def _read_pages(
    connection: Connection, since: datetime, report: Report, leased: leased_queue.LeasedQueue | None
) -> None:
    path = settings.SNAPINSPECT_CHANGES_PATH.format(since=since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    read: set[str] = set()
    known: set[str] = set()
    while path:
        if path in read or report.pages == MOST_PAGES:
            report.flag = "its pages go in a circle" if path in read else f"more than {MOST_PAGES} pages"
            return
        read.add(path)
        try:
            answer = api_client.get(connection, path)
            page = answer.json
            if not inspection_content.is_listing(page):
                raise api_client.NoAnswer("wrong_shape", is_outage=False, status=answer.status)
        except BadPath:
            report.flag = "its next page leads elsewhere"
            return
        except api_client.NoAnswer as no:
            if no.is_outage or no.status is None or not report.pages:
                raise
            report.flag = f"its next page cannot be read ({no.error_kind})"
            return
        report.pages += 1
        ids = [inspection for inspection in inspection_content.inspection_ids(page) if inspection not in known]
        known.update(ids)
        report.listed += len(ids)
        if leased is None:
            report.made += len(_missing(connection, ids, since))
        else:
            with transaction.atomic():
                # Before the queue's row, as routing does.
                NamedLock.objects.lock(routing.LOCK)
                with leased.atomic(succeeded=True):
                    made = _missing(connection, ids, since)
                    Event.objects.bulk_create(made)
                    EventQueue.objects.wake([connection.pk])
            report.made += len(made)
        try:
            path = _next_path(page, path)
        except BadPath:
            report.flag = "its next page leads elsewhere"
            return


def _next_path(page: Json, path: str) -> str:
    """The path of the page behind the one at this path; empty on the last one. Raises BadPath."""
    link = inspection_content.next_link(page)
    if link.startswith("?"):
        return path.partition("?")[0] + link
    if link.startswith("/") and not link.startswith("//"):
        # From the root of the host (RFC 3986 section 5.2), or, as some mean it, of the API.
        with suppress(BadPath):
            return safe_urls.relative_to(settings.SNAPINSPECT_API_URL, urljoin(settings.SNAPINSPECT_API_URL, link))
    if "://" in link:
        return safe_urls.relative_to(settings.SNAPINSPECT_API_URL, link)
    return link


def _missing(connection: Connection, inspections: list[str], since: datetime) -> list[Event]:
    """Events for those of these inspections whose last change may be unknown to us."""
    ours = Event.objects.filter(connection=connection, inspection_id__in=inspections).order_by()
    to_come = ours.open()
    if settings.SNAPINSPECT_INSPECTION_PATH:
        to_come = to_come.filter(content_sha256="")  # see Event.look_up_is_to_come
    covered = set(to_come.values_list("inspection_id", flat=True))
    seen = set(ours.values_list("inspection_id", flat=True).distinct())
    newest = {}
    if settings.SNAPINSPECT_INSPECTION_PATH:
        with_content = ours.with_content().values("inspection_id").annotate(n=Max("pk")).values_list("n", flat=True)
        newest = {event.inspection_id: event for event in Event.objects.filter(pk__in=with_content).defer("content")}
    else:
        # Nothing can be compared: assume that what was announced since then is what is listed now.
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

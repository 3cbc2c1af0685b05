"""Sends what waits for webhook endpoints.

One thread of a process reads what is due and writes how it ended, in batches; others only send. So an endpoint that
answers slowly, or not at all, keeps nothing else waiting.

A process leases an endpoint and sends at most MOST_AT_ONCE of its deliveries at once. The lease is renewed while
requests are under way, and results are written only under the lease. What a killed process had sent, but not written,
is sent again by another one: at least once, each time with the same `webhook-id`.
"""

import logging
import os
import secrets
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from integrations.metrics import counters
from integrations.models import OutgoingDelivery, WebhookEndpoint
from integrations.models.leases import UNLEASED
from integrations.outgoing import results, sender
from integrations.outgoing.request import Item, Result, Target
from integrations.tokens.encryption import CannotUnseal

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 4  # requests to an endpoint
MOST_ENDPOINTS = 32  # that a process serves at a time
MOST_THREADS = 64  # each of them gets one thread, and more while there are some
MOST_HELD = 3200  # deliveries that are read and not written yet, of all endpoints
BATCH = 400  # of an endpoint: enough for its threads while results are written
HELD_AT_ONCE = 1000
# Seconds.
WRITE_AFTER = 0.1  # beside what it is sending at the moment, a killed process repeats no more than this
RENEW_AFTER = 3.0
TIME_SLICE = 10.0  # of an endpoint, while others wait for a place
# Nothing that may take long keeps a lease from being renewed, so it may be shorter than a request.
LEASE = timedelta(seconds=15)
WAIT_FOR_KEY = timedelta(minutes=5)
State = WebhookEndpoint.State


class Line:
    """The deliveries of an endpoint that this process holds. `row` is the endpoint as last read."""

    def __init__(self, row: WebhookEndpoint) -> None:
        self.row = row
        self.target: Target | None = None
        self.began_at = time.monotonic()
        # Read, and not written yet: `waiting` ones, those that are sent at the moment, and those with a result.
        self.known: set[int] = set()
        # Shared with the threads that send, under the dispatcher's lock.
        self.waiting: deque[Item] = deque()
        self.active = 0
        self.is_stopped = False


class Dispatcher:
    """Sends for one process. Only one thread at a time may call its methods."""

    def __init__(self) -> None:
        self._owner = secrets.token_hex(16)
        self._lines: dict[int, Line] = {}
        self._results: list[tuple[Line, Result]] = []
        self._changed = threading.Condition()
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="outgoing")
        self._renewed_at = time.monotonic()

    def rows(self) -> "QuerySet[WebhookEndpoint]":
        """Endpoints for which there is something to do now."""
        return WebhookEndpoint.objects.due() | WebhookEndpoint.objects.filter(lease_owner=self._owner)

    def turn(self) -> None:
        """Reads what is due, has it sent, and writes what has been answered within WRITE_AFTER."""
        self._look_again()
        self._claim()
        for line in self._lines.values():
            self._fill(line)
        self._release()
        if not self._lines:
            return
        self._start_threads()
        with self._changed:
            self._changed.wait_for(lambda: not all(line.active for line in self._lines.values()), WRITE_AFTER)
        self._write()

    def finish(self) -> None:
        """Waits for the answers to what is being sent, writes them, and lets go of all endpoints."""
        for line in self._lines.values():
            self._stop(line)
        with self._changed:
            self._changed.wait_for(lambda: not any(line.active for line in self._lines.values()), sender.DEADLINE + 1)
        self._write()
        self._release()

    def _look_again(self) -> None:
        """Reads the endpoints again: they may have been paused or changed, or be another process's by now."""
        if not self._lines:
            return
        held = WebhookEndpoint.objects.filter(pk__in=self._lines, lease_owner=self._owner)
        if time.monotonic() > self._renewed_at + RENEW_AFTER:
            held.update(lease_until=Now() + LEASE)
            self._renewed_at = time.monotonic()
        rows = {row.pk: row for row in held.with_must_wait()}
        for pk, line in list(self._lines.items()):
            if pk not in rows:
                logger.info("Lost the lease of an endpoint to another worker.")
                self._stop(line)
                del self._lines[pk]
                continue
            line.row = rows[pk]
            if line.row.state != State.ON or line.row.must_wait:
                self._stop(line)
            else:
                self._aim(line)

    def _claim(self) -> None:
        """Leases endpoints that are due, as many as there is room for.

        Those that gave no answer get half of the room: however many of them hang, the others do not wait for them.
        """
        due = WebhookEndpoint.objects.due()
        room = MOST_ENDPOINTS - len(self._lines)
        room_for_silent = MOST_ENDPOINTS // 2 - sum(line.row.waits > 0 for line in self._lines.values())
        if room_for_silent <= 0:
            due = due.filter(waits=0)
        rows = list(due.order_by("due_at").values_list("pk", "waits")[: max(room, 1)])
        silent = [pk for pk, waits in rows if waits][: max(room_for_silent, 0)]
        found = [pk for pk, waits in rows if not waits] + silent
        if found and room <= 0:
            for line in self._lines.values():
                if time.monotonic() > line.began_at + TIME_SLICE:
                    self._stop(line)
            return
        if found:
            due.filter(pk__in=found).update(lease_owner=self._owner, lease_until=Now() + LEASE, due_at=None)
        # Those that another process did not get before; and after an error, those leased and not noted here.
        for row in WebhookEndpoint.objects.filter(lease_owner=self._owner).exclude(pk__in=self._lines):
            self._lines[row.pk] = line = Line(row)
            self._aim(line)

    def _aim(self, line: Line) -> None:
        """Sets where to send to; stops while no key opens the secrets."""
        try:
            line.target = Target.of(line.row)
        except CannotUnseal:
            logger.error("No key opens the secret of the webhook endpoint %s.", line.row.code)
            self._stop(line)
            WebhookEndpoint.objects.filter(pk=line.row.pk).update(wait_until=Now() + WAIT_FOR_KEY)

    def _fill(self, line: Line) -> None:
        """Reads more of what is due. One at a time while the endpoint has given no answer."""
        most = 1 if line.row.waits else min(BATCH, MOST_HELD // len(self._lines))
        if line.is_stopped or len(line.waiting) > most // 2 or (line.row.waits and line.known):
            return
        due = OutgoingDelivery.objects.due().filter(endpoint=line.row.pk).exclude(pk__in=line.known)
        found = due.order_by("next_try_at", "pk").values_list("pk", "tries", "message__code", "message__body")[:most]
        items = [Item(pk, tries, f"msg_{code}", body.encode(errors="replace")) for pk, tries, code, body in found]
        line.known.update(item.pk for item in items)
        with self._changed:
            line.waiting.extend(items)

    def _start_threads(self) -> None:
        """One thread for each endpoint that has none, and one more for those that are not done by now."""
        spare = MOST_THREADS - MOST_ENDPOINTS - sum(max(line.active - 1, 0) for line in self._lines.values())
        for line in self._lines.values():
            most = 1 if line.row.waits else MOST_AT_ONCE
            if line.waiting and (not line.active or (line.active < most and spare > 0)):
                spare -= bool(line.active)
                with self._changed:
                    line.active += 1
                self._threads.submit(self._send, line)

    def _send(self, line: Line) -> None:
        """Sends one delivery after the other. In a thread of its own."""
        while True:
            with self._changed:
                if line.is_stopped or not line.waiting or line.target is None:
                    line.active -= 1
                    self._changed.notify_all()
                    return
                item, target = line.waiting.popleft(), line.target
            try:
                result = target.send(item)
            except Exception:
                logger.exception("Sending a webhook failed.")
                result = Result(item, target.url, timezone.now(), timedelta(0), error_kind="internal_error")
            with self._changed:
                self._results.append((line, result))
                # Others would get no answer either, and hold threads for long.
                line.is_stopped = line.is_stopped or result.status is None

    def _stop(self, line: Line) -> None:
        """Sends nothing more for this line, but what is being sent at the moment."""
        with self._changed:
            line.is_stopped = True

    def _write(self) -> None:
        """Writes the results so far, of endpoints that are still held."""
        with self._changed:
            found = list(self._results)
        if not found:
            return
        ours = {pk: line for pk, line in self._lines.items() if any(line is mine for mine, _ in found)}
        with transaction.atomic():
            held = WebhookEndpoint.objects.filter(pk__in=ours, lease_owner=self._owner)
            if held.update(lease_until=Now() + LEASE) != len(ours):
                still = set(held.values_list("pk", flat=True))
                ours = {pk: line for pk, line in ours.items() if pk in still}
            written = [(line.row.pk, result) for line, result in found if ours.get(line.row.pk) is line]
            results.write(written)
        for line, result in found:
            line.known.discard(result.item.pk)
        with self._changed:
            del self._results[: len(found)]
        for _, result in written:
            counters.count_webhook(result.status, is_delivered=result.is_delivered)

    def _release(self) -> None:
        """Lets go of the endpoints for which nothing is left to do; each is due again with its next delivery."""
        for line in self._lines.values():
            if line.is_stopped and not line.active:
                line.known.difference_update(item.pk for item in line.waiting)
                line.waiting.clear()
        over = sorted(pk for pk, line in self._lines.items() if not line.active and not line.known)
        if not over:
            return
        with transaction.atomic():
            for pk in over:
                row = WebhookEndpoint.objects.filter(pk=pk)
                row.filter(lease_owner=self._owner).update(lease_owner="", lease_until=None)
                waiting = OutgoingDelivery.objects.waiting().filter(endpoint=pk)
                following = waiting.order_by("next_try_at").values_list("next_try_at", flat=True).first()
                if following is not None:
                    # Now at the earliest, which is the end of the line; but not later than a new delivery made it due.
                    later = row.filter(Q(due_at=None) | Q(due_at__gt=following))
                    later.update(due_at=Greatest(Value(following), Now()))
        for pk in over:
            del self._lines[pk]


def wake_forgotten() -> None:
    """Makes endpoints due whose deliveries are due, and at which no worker would look otherwise."""
    due = OutgoingDelivery.objects.due().filter(endpoint=OuterRef("pk"))
    later = Q(due_at=None) | Q(due_at__gt=Now())
    WebhookEndpoint.objects.on().filter(UNLEASED, later).filter(Exists(due)).wake()


def off_with_waiting() -> "QuerySet[WebhookEndpoint]":
    """Endpoints that are off, and for which something waits."""
    waiting = OutgoingDelivery.objects.waiting().filter(endpoint=OuterRef("pk"))
    return WebhookEndpoint.objects.filter(Exists(waiting), state=State.OFF)


def hold(pk: int) -> None:
    """Marks what waits for an endpoint that is off as not sent: only a person sends it again. Some at a time."""
    waiting = OutgoingDelivery.objects.waiting().filter(endpoint=pk, endpoint__state=State.OFF)
    found = list(waiting.values_list("pk", flat=True)[:HELD_AT_ONCE])
    waiting.filter(pk__in=found).update(state=OutgoingDelivery.State.HELD)


# One per process: a forked child must not answer for its parent's requests.
_dispatchers: dict[int, Dispatcher] = {}


def of_this_process() -> Dispatcher:
    pid = os.getpid()
    return _dispatchers.get(pid) or _dispatchers.setdefault(pid, Dispatcher())


def rows() -> "QuerySet[Any]":
    """Endpoints for which this process has something to do now."""
    return of_this_process().rows()


def turn(_: int) -> None:
    """See Dispatcher.turn."""
    of_this_process().turn()

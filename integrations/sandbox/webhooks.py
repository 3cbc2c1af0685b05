"""Webhooks: deliveries, their retries, and the threads that send them. Kept in memory only.

Documented: the answer 200 ends a delivery; otherwise it is tried 4 more times within 2 hours, then dropped. Assumed:
the times of the retries, and that every other status is a failure. Redirects are not followed.
"""

import heapq
import itertools
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Literal
from urllib.parse import urlsplit

from integrations.sandbox.http_messages import is_loopback

RETRIES_AFTER = (5 * 60, 15 * 60, 45 * 60, 105 * 60)  # seconds after the first attempt; assumed
ANSWER_SECONDS = 30.0  # how long a receiver may take; assumed
SENDERS = 32
KEPT = 20_000


def is_acceptable(url: str) -> bool:
    """Whether a webhook URL can be registered: https (documented), or http on this machine, for development."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises ValueError for one that is not a number
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


@dataclass(eq=False)
class Delivery:
    """One message to one URL, which is a secret; `to` describes it. `event`: its sequence number, if it has one."""

    id: int
    to: str
    url: str = field(repr=False)
    body: bytes = field(repr=False)
    event: int | None
    inspection: int | None
    state: Literal["waiting", "sending", "acknowledged", "dropped"] = "waiting"
    due: float = field(default_factory=time.monotonic)
    started: float = 0.0
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        return self.state in ("acknowledged", "dropped")

    def as_dict(self) -> dict[str, Any]:
        """All but the URL and the body. `next`: when it is tried again."""
        seconds = self.due - time.monotonic()
        waits = self.state == "waiting" and seconds > 0
        return {
            "event": self.event,
            "inspection": self.inspection,
            "to": self.to,
            "state": self.state,
            "attempts": list(self.attempts),
            "next": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat() if waits else None,
        }


class Webhooks:
    """The last 20,000 deliveries. Thread-safe; no method waits for a receiver.

    `speed`: how much faster than documented retries come, for tests: 3600 makes an hour a second.
    """

    def __init__(self, *, speed: float) -> None:
        self._speed = speed
        self._changed = threading.Condition()
        self._ids = itertools.count(1)
        self._deliveries: dict[int, Delivery] = {}
        self._queue: list[tuple[float, int, Delivery]] = []  # a heap, the next one due first
        self._senders = self._idle = 0
        self.paused = self._closed = False

    def send(self, body: bytes, *, to: str, url: str, event: int | None = None, inspection: int | None = None) -> None:
        """Sends a message in the background, with retries."""
        with self._changed:
            delivery = Delivery(next(self._ids), to, url, body, event, inspection)
            self._deliveries[delivery.id] = delivery
            if len(self._deliveries) > KEPT:
                del self._deliveries[next(iter(self._deliveries))]
            self._schedule(delivery)

    def pause(self) -> None:
        """Starts no further attempt."""
        self.paused = True

    def resume(self) -> None:
        with self._changed:
            self.paused = False
            self._changed.notify_all()

    def all(self, *, wait: float = 0) -> list[dict[str, Any]]:
        """The deliveries, oldest first. `wait`: seconds to wait until all are acknowledged or dropped."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or all(one.settled for one in self._deliveries.values()), wait)
            return [delivery.as_dict() for delivery in self._deliveries.values()]

    def reset(self) -> None:
        """Forgets all deliveries; the result of an attempt under way is ignored."""
        with self._changed:
            self._deliveries.clear()
            self._queue.clear()
            self.paused = False
            self._changed.notify_all()

    def close(self) -> None:
        """Ends all waits and starts no further attempt. Threads under way are daemons and keep nothing open."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _schedule(self, delivery: Delivery) -> None:
        heapq.heappush(self._queue, (delivery.due, delivery.id, delivery))
        if self._senders < min(SENDERS, self._senders - self._idle + len(self._queue)):
            self._senders += 1
            threading.Thread(target=self._work, daemon=True).start()
        self._changed.notify_all()

    def _work(self) -> None:
        while (delivery := self._take()) is not None:
            began = datetime.now(UTC).isoformat()
            status, error = None, ""
            try:
                status = post(delivery.url, delivery.body)
            except (OSError, HTTPException, ValueError) as problem:
                error = type(problem).__name__  # its text may quote the URL, which is a secret
            with self._changed:
                if delivery.id in self._deliveries:
                    self._conclude(delivery, {"time": began, "status": status, "error": error})
                    self._changed.notify_all()

    def _take(self) -> Delivery | None:
        """The next delivery that is due, when there is one; None after `close`."""
        with self._changed:
            self._idle += 1
            while not self._closed:
                ready = bool(self._queue) and not self.paused
                seconds = self._queue[0][0] - time.monotonic() if ready else None
                if seconds is not None and seconds <= 0:
                    delivery = heapq.heappop(self._queue)[2]
                    delivery.state = "sending"
                    delivery.started = delivery.started or time.monotonic()
                    self._idle -= 1
                    return delivery
                self._changed.wait(seconds)
            return None

    def _conclude(self, delivery: Delivery, attempt: dict[str, Any]) -> None:
        number = len(delivery.attempts)
        delivery.attempts.append({"attempt": number + 1, **attempt})
        if attempt["status"] == 200:
            delivery.state = "acknowledged"
        elif number < len(RETRIES_AFTER):
            delivery.state, delivery.due = "waiting", delivery.started + RETRIES_AFTER[number] / self._speed
            self._schedule(delivery)
        else:
            delivery.state = "dropped"


def post(url: str, body: bytes) -> int:
    """The status of the answer. Raises OSError, HTTPException or ValueError if there is none."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    headers = {"User-Agent": "SnapInspect-stand-in", "Content-Type": "application/json", "Connection": "close"}
    with closing(kind(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)) as connection:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        with connection.getresponse() as response:
            response.read()  # closing with unread data would look like an error to the receiver
            return response.status

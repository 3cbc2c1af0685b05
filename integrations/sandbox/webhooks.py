"""The sending of webhooks in the background: a timetable of attempts, and a bounded pool that makes them."""

import heapq
import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException
from queue import SimpleQueue
from typing import Any, Literal

from integrations.sandbox.deliveries import Clock, Delivery, Draft, Manner
from integrations.sandbox.posting import post

MOST_AT_ONCE = 32
KEPT = 50_000
ANSWER_SECONDS = 30.0  # assumed
STOP_SECONDS = 2.0

Order = Literal["as it was", "reversed"]


class Webhooks:
    """Every delivery, kept in memory only. Safe to use from any thread; nothing here waits for a receiver.

    `speed`: of the clock at the start and after a reset; 3600 makes an hour of the retry rule a second.
    """

    def __init__(self, *, speed: float) -> None:
        self._first_speed = speed
        self._clock = Clock(speed)
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._concluded = threading.Condition(lock)
        self._ids, self._batches = itertools.count(1), itertools.count(1)
        self._deliveries: dict[int, Delivery] = {}
        self._timetable: list[tuple[float, int, Delivery]] = []
        self._manners: deque[Manner] = deque()
        self._paused = self._closed = False
        self._seconds = ANSWER_SECONDS
        # What is due goes from the timekeeper to the senders; threads start when there is something to do.
        self._handed_over: SimpleQueue[Delivery | None] = SimpleQueue()
        self._busy = 0
        self._timekeeper: threading.Thread | None = None
        self._senders: list[threading.Thread] = []
        self._open: set[socket.socket] = set()

    def dispatch(
        self, drafts: Iterable[Draft], manner: Manner, *, at_once: int | None = None, per_second: float | None = None
    ) -> int:
        """Takes messages to be sent and returns the number of this batch.

        `at_once`: how many first attempts of the batch may be under way together; None for all messages, with
        the copies of each as the manner says. `per_second`: starts at most so many, in real seconds.
        """
        drafts = list(drafts)
        with self._changed:
            batch, now = next(self._batches), self._clock.now()
            step = self._clock.speed / per_second if per_second else 0.0
            places = itertools.count()
            shared: deque[Delivery] = deque()
            for draft in drafts:
                queue = shared if at_once else deque()
                for _ in range(manner.copies):
                    due = now + manner.delay + next(places) * step
                    queue.append(Delivery(next(self._ids), batch, draft, manner, due, queue))
                self._deliveries.update((delivery.id, delivery) for delivery in queue)
                if not at_once:
                    self._start_first_of(queue, manner.copies if manner.parallel else 1)
            self._start_first_of(shared, at_once or 0)
            self._forget_oldest()
        return batch

    def order_next(self, manner: Manner, events: int) -> None:
        """Has the next `events` events sent in this manner instead of the vendor's."""
        with self._changed:
            self._manners.extend([manner] * events)

    def next_manner(self) -> Manner:
        """The manner of the event that happens now; uses up an order of `order_next`."""
        with self._changed:
            return self._manners.popleft() if self._manners else Manner()

    def pause(self) -> None:
        """Starts no further attempt; the clock goes on."""
        with self._changed:
            self._paused = True

    def resume(self, order: Order = "as it was") -> None:
        """Goes on. `reversed`: first attempts that became due meanwhile, the last one first and one by one."""
        with self._changed:
            self._paused = False
            if order == "reversed":
                now = self._clock.now()
                late = [entry for entry in self._timetable if entry[0] <= now and not entry[2].attempts]
                self._timetable = [entry for entry in self._timetable if entry[0] > now or entry[2].attempts]
                heapq.heapify(self._timetable)
                queue: deque[Delivery] = deque()
                for _, _, delivery in sorted(late, reverse=True):
                    # What queued behind this one goes out right after it.
                    followers, delivery.queue = delivery.queue, queue
                    queue.append(delivery)
                    queue.extend(followers)
                    followers.clear()
                for delivery in queue:
                    delivery.queue = queue
                self._start_first_of(queue, 1)
            self._changed.notify()

    def set_time(self, *, speed: float | None = None, seconds: float | None = None) -> None:
        """Changes the clock's speed from now on, and the real seconds to wait for a receiver's next byte."""
        with self._changed:
            self._clock.speed = speed or self._clock.speed
            self._seconds = seconds or self._seconds
            self._changed.notify()

    def described(self) -> dict[str, Any]:
        """The switches: speed, answer_within (seconds), paused."""
        with self._changed:
            return {"speed": self._clock.speed, "answer_within": self._seconds, "paused": self._paused}

    def listed(self, wanted: Callable[[Delivery], bool], *, wait: float = 0) -> list[dict[str, Any]]:
        """The wanted deliveries, oldest first. `wait`: seconds to wait until all of them are settled."""
        with self._changed:
            found = [delivery for delivery in self._deliveries.values() if wanted(delivery)]
            pending = list(found)

            def all_settled() -> bool:
                while pending and (pending[-1].settled or pending[-1].id not in self._deliveries):
                    pending.pop()
                return not pending or self._closed

            self._concluded.wait_for(all_settled, wait)
            return [delivery.described(self._clock) for delivery in found]

    def reset(self) -> None:
        """Forgets every delivery, also those under way, and all orders."""
        with self._changed:
            self._deliveries.clear()
            self._timetable.clear()
            self._manners.clear()
            self._paused = False
            self._clock.speed, self._seconds = self._first_speed, ANSWER_SECONDS
            self._hang_up()
            self._concluded.notify_all()

    def close(self) -> None:
        """Ends all threads; an attempt under way is broken off."""
        with self._changed:
            self._closed = True
            threads = [*self._senders, *([self._timekeeper] if self._timekeeper else [])]
            for _ in self._senders:
                self._handed_over.put(None)
            self._hang_up()
            self._changed.notify_all()
            self._concluded.notify_all()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start_first_of(self, queue: deque[Delivery], count: int) -> None:
        for _ in range(min(count, len(queue))):
            self._schedule(queue.popleft())

    def _schedule(self, delivery: Delivery) -> None:
        heapq.heappush(self._timetable, (delivery.due, delivery.id, delivery))
        if self._timekeeper is None and not self._closed:
            self._timekeeper = threading.Thread(target=self._keep_time, daemon=True)
            self._timekeeper.start()
        self._changed.notify()

    def _forget_oldest(self) -> None:
        surplus = len(self._deliveries) - KEPT
        settled = (delivery.id for delivery in list(self._deliveries.values()) if delivery.settled)
        for number in itertools.islice(settled, max(0, surplus)):
            del self._deliveries[number]

    def _keep_time(self) -> None:
        with self._changed:
            while not self._closed:
                idle = self._paused or not self._timetable
                seconds = None if idle else self._clock.real_seconds_until(self._timetable[0][0])
                if seconds is None or seconds > 0:
                    # Capped: with a slow clock, a later moment than threads can wait for.
                    self._changed.wait(None if seconds is None else min(seconds, 3600))
                    continue
                _, _, delivery = heapq.heappop(self._timetable)
                self._busy += 1
                if self._busy > len(self._senders) < MOST_AT_ONCE:
                    self._senders.append(threading.Thread(target=self._send_what_is_due, daemon=True))
                    self._senders[-1].start()
                self._handed_over.put(delivery)

    def _send_what_is_due(self) -> None:
        while (delivery := self._handed_over.get()) is not None:
            if self._begins(delivery):
                self._attempt(delivery)
            with self._changed:
                self._busy -= 1

    def _begins(self, delivery: Delivery) -> bool:
        """Marks the start of an attempt; False when there was a reset, or the end, in the meantime."""
        with self._changed:
            if self._closed or delivery.id not in self._deliveries:
                return False
            if self._paused:
                heapq.heappush(self._timetable, (delivery.due, delivery.id, delivery))
                return False
            delivery.state = "sending"
            if not delivery.attempts:
                delivery.first_attempt = self._clock.now()
            return True

    def _attempt(self, delivery: Delivery) -> None:
        began = datetime.now(UTC).isoformat()
        mine: list[socket.socket] = []

        def connected(line: socket.socket) -> None:
            with self._changed:
                if self._closed or delivery.id not in self._deliveries:
                    raise ConnectionAbortedError
                mine.append(line)
                self._open.add(line)

        status, error = None, ""
        try:
            status = post(
                delivery.draft.url,
                delivery.draft.message,
                cut=delivery.cut,
                seconds=self._seconds,
                connected=connected,
            )
            error = "" if status else "cut off on order"
        except (OSError, HTTPException, ValueError) as problem:
            error = type(problem).__name__  # its text may quote the address, which is a secret
        with self._changed:
            self._open.difference_update(mine)
            if delivery.id not in self._deliveries:
                return
            delivery.conclude(began=began, status=status, error=error)
            if not delivery.settled:
                self._schedule(delivery)
            if len(delivery.attempts) == 1:
                self._start_first_of(delivery.queue, 1)
            self._concluded.notify_all()

    def _hang_up(self) -> None:
        for line in self._open:
            # Past SSLSocket.shutdown, which would change the object under the thread that reads from it.
            with suppress(OSError):
                socket.socket.shutdown(line, socket.SHUT_RDWR)

"""How many of a web process's threads may be held: by calls to SnapInspect that somebody waits for, and by downloads.

A process has few threads (`WEB_THREADS`). A page that asks SnapInspect holds one until the answer is there, a download
until its reader has all of it. So a process has MAX_CALLS slots for the one and MAX_DOWNLOADS for the other. The
threads beyond these are left: webhooks, `/health/live` and all other pages are answered meanwhile.

A page takes a slot, or says at once that there is none. A call of the API's proxy waits for one without a thread:
`connectapp.gunicorn_worker` puts the request aside before anything of it is done.
"""

import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MAX_CALLS = 4
MAX_CALLS_PER_CONNECTION = 2
MAX_DOWNLOADS = 2
MAX_DOWNLOADS_EACH = 1  # for each person, and for each customer
# So many calls of the proxy wait in a process, for so many seconds. Each is one of gunicorn's 1,000 connections.
MAX_WAITING = 800
MAX_WAIT = 15.0


class Busy(Exception):
    """Every slot is taken."""


class Limit:
    """So many slots in this process, and so many with the same key."""

    def __init__(self, total: int, *, each: int) -> None:
        self._total, self._each = total, each
        self.in_use = 0
        self._keys: Counter[Hashable] = Counter()
        # By key, in the order of their turns.
        self._waiting: dict[Hashable, deque[Waiting]] = {}
        # A slot may be released by the garbage collector, in a thread that has the lock.
        self._lock = threading.RLock()

    def take(self, *keys: Hashable) -> "Slot":
        """A slot that counts for each of these keys. Raises Busy at once when there is none."""
        with self._lock:
            if not self._is_free(*keys):
                raise Busy
            return self._taken(keys)

    def wait(self, waiting: "Waiting") -> bool:
        """Resumes it as soon as there is a slot for its key, at once if there is one. False: too many wait already."""
        with self._lock:
            if not self._is_free(waiting.key):
                if sum(map(len, self._waiting.values())) >= MAX_WAITING:
                    return False
                self._waiting.setdefault(waiting.key, deque()).append(waiting)
                return True
            slot = self._taken((waiting.key,))
        waiting.resume(slot)
        return True

    def stop_waiting(self, waiting: "Waiting") -> bool:
        """Whether it still waited. It is not resumed any more then."""
        with self._lock:
            queue = self._waiting.get(waiting.key)
            if queue is None or waiting not in queue:
                return False
            queue.remove(waiting)
            if not queue:
                del self._waiting[waiting.key]
            return True

    def release(self, keys: tuple[Hashable, ...]) -> None:
        """For `Slot`. Who has waited longest, with the key whose turn it is, gets the slot."""
        with self._lock:
            self.in_use -= 1
            self._keys.subtract(keys)
            self._keys += Counter()  # drops what is zero
            key = next(filter(self._is_free, self._waiting), None)
            if key is None:
                return
            queue = self._waiting.pop(key)
            waiting = queue.popleft()
            if queue:
                self._waiting[key] = queue
            slot = self._taken((key,))
        waiting.resume(slot)

    def _is_free(self, *keys: Hashable) -> bool:
        return self.in_use < self._total and all(self._keys[key] < self._each for key in keys)

    def _taken(self, keys: tuple[Hashable, ...]) -> "Slot":
        self.in_use += 1
        self._keys.update(keys)
        return Slot(self, keys)


class Slot:
    """Taken until `release`, or until nothing refers to it any more."""

    def __init__(self, limit: Limit, keys: tuple[Hashable, ...]) -> None:
        self.keys = keys
        self.release = weakref.finalize(self, limit.release, keys)


@dataclass(eq=False)
class Waiting:
    """What waits for a slot with this key. resume: called with it, by whichever thread has released one."""

    key: Hashable
    resume: Callable[[Slot], None]


# A key is a connection's code.
calls = Limit(MAX_CALLS, each=MAX_CALLS_PER_CONNECTION)
_downloads = Limit(MAX_DOWNLOADS, each=MAX_DOWNLOADS_EACH)
_this_thread = threading.local()


@contextmanager
def slot(code: str) -> Iterator[None]:
    """Holds a slot for one call of the connection with this code; within `holding`, the slot that is held already.

    Raises Busy at once when there is none.
    """
    if getattr(_this_thread, "holds", None) == (code,):
        yield
        return
    taken = calls.take(code)
    try:
        yield
    finally:
        taken.release()


@contextmanager
def holding(taken: Slot) -> Iterator[None]:
    """Lets this thread make calls of the slot's connection with this slot, which is released at the end."""
    _this_thread.holds = taken.keys
    try:
        yield
    finally:
        _this_thread.holds = None
        taken.release()


def download(person_id: int, customer_id: int) -> Slot:
    """A slot for one download of this person from this customer. Raises Busy at once when there is none."""
    return _downloads.take(("person", person_id), ("customer", customer_id))

"""How many of a web process's threads may be held: by calls to SnapInspect that somebody waits for, and by downloads.

A process has few threads (`WEB_THREADS`). A page that asks SnapInspect holds one until the answer is there, a download
until its reader has all of it. So a process has MAX_CALLS slots for the one and MAX_DOWNLOADS for the other. The
threads beyond these are left: webhooks, `/health/live` and all other pages are answered meanwhile.
"""

import threading
import weakref
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

MAX_CALLS = 4
MAX_CALLS_PER_CONNECTION = 2
MAX_DOWNLOADS = 2
MAX_DOWNLOADS_EACH = 1  # for each person, and for each customer


class Busy(Exception):
    """Every slot is taken. There is no queue for them: a caller that waits would hold a thread, too."""


class Limit:
    """So many slots in this process, and so many with the same key."""

    def __init__(self, total: int, *, each: int) -> None:
        self._total, self._each = total, each
        self.in_use = 0
        self._keys: Counter[Hashable] = Counter()
        # A slot may be released by the garbage collector, in a thread that has the lock.
        self._lock = threading.RLock()

    def take(self, *keys: Hashable) -> "Slot":
        """A slot that counts for each of these keys. Raises Busy at once when there is none."""
        with self._lock:
            if self.in_use >= self._total or any(self._keys[key] >= self._each for key in keys):
                raise Busy
            self.in_use += 1
            self._keys.update(keys)
        return Slot(self, keys)

    def release(self, keys: tuple[Hashable, ...]) -> None:
        """For `Slot`."""
        with self._lock:
            self.in_use -= 1
            self._keys.subtract(keys)
            self._keys += Counter()  # drops what is zero


class Slot:
    """Taken until `release`, or until nothing refers to it any more."""

    def __init__(self, limit: Limit, keys: tuple[Hashable, ...]) -> None:
        self.release = weakref.finalize(self, limit.release, keys)


_calls = Limit(MAX_CALLS, each=MAX_CALLS_PER_CONNECTION)
_downloads = Limit(MAX_DOWNLOADS, each=MAX_DOWNLOADS_EACH)


@contextmanager
def slot(connection_id: int) -> Iterator[None]:
    """Holds a slot for one call of this connection. Raises Busy at once when there is none."""
    taken = _calls.take(connection_id)
    try:
        yield
    finally:
        taken.release()


def download(person_id: int, customer_id: int) -> Slot:
    """A slot for one download of this person from this customer. Raises Busy at once when there is none."""
    return _downloads.take(("person", person_id), ("customer", customer_id))

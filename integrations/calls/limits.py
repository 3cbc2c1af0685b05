"""How many of a process's threads may wait for SnapInspect.

A page that asks SnapInspect holds one of the web process's few threads until the answer is there. While SnapInspect
hangs, all of them would soon be held, and webhooks and every other page with them. So a process has AT_ONCE places for
such calls, and no connection gets more than PER_CONNECTION of them: the trouble of one leaves places for the others.

A worker's threads are held in the same way by accounts whose API hangs. Whoever was not answered last time is on trial:
all of them share one place of the process, and the other threads serve those who are answered.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 4
PER_CONNECTION = 2

_trial = threading.Lock()
_changing = threading.Lock()
_taken: Counter[int] = Counter()


class Busy(Exception):
    """Every place is taken. Nobody queues for one: whoever waits for a place would hold a thread, too."""


@contextmanager
def place(connection_id: int) -> Iterator[None]:
    """Holds a place for one call of this connection; raises Busy at once when there is none."""
    with _changing:
        if _taken[connection_id] >= PER_CONNECTION or _taken.total() >= AT_ONCE:
            raise Busy
        _taken[connection_id] += 1
    try:
        yield
    finally:
        with _changing:
            _taken[connection_id] -= 1
            if not _taken[connection_id]:
                del _taken[connection_id]


@contextmanager
def trial() -> Iterator[bool]:
    """Whether this thread may try somebody who was not answered last time; it holds the one place for that."""
    free = _trial.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            _trial.release()

"""How many of a process's threads may wait for SnapInspect.

A page that asks SnapInspect holds one of the web process's few threads until the answer is there. If all of them waited
for a SnapInspect that hangs, no webhook and no other page would be served. So a process makes at most MAX_CALLS such
calls at a time, and at most MAX_CALLS_PER_CONNECTION for one connection.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

MAX_CALLS = 4
MAX_CALLS_PER_CONNECTION = 2

_lock = threading.Lock()
_in_use: Counter[int] = Counter()


class Busy(Exception):
    """Every slot is taken. There is no queue for them: a caller that waits would hold a thread, too."""


@contextmanager
def slot(connection_id: int) -> Iterator[None]:
    """Holds a slot for one call of this connection. Raises Busy at once when there is none."""
    with _lock:
        if _in_use[connection_id] >= MAX_CALLS_PER_CONNECTION or _in_use.total() >= MAX_CALLS:
            raise Busy
        _in_use[connection_id] += 1
    try:
        yield
    finally:
        with _lock:
            _in_use[connection_id] -= 1
            if not _in_use[connection_id]:
                del _in_use[connection_id]

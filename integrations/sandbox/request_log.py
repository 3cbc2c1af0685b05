"""The requests seen, without a secret in them, and a way to wait for the next one."""

import threading
import time
from collections import deque
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from integrations.sandbox.messages import Pairs, Request, on_path
from integrations.sandbox.tokens import fingerprint

KEPT = 20_000

Entry = dict[str, Any]


class RequestLog:
    """The last 20,000 requests. Sequence numbers go on when the list is cleared."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self.last = 0
        self._closed = False

    def add(self, request: Request, *, token: str, company: int | None) -> Entry:
        """The entry of a request that has just arrived; `status` is filled in when its answer is known."""
        entry: Entry = {
            "sequence": 0,
            "time": datetime.now(UTC).isoformat(),
            "method": request.method,
            "path": request.path,
            "query": names(request.query),
            "form": names(request.form),
            "redirect_uri": dict(request.query + request.form).get("redirect_uri"),
            "status": None,
            "token": fingerprint(token) if token else None,
            "company": company,
            "user_agent": request.headers.get("User-Agent", "")[:200],
        }
        with self._arrived:
            self.last += 1
            entry["sequence"] = self.last
            self._entries.append(entry)
            self._arrived.notify_all()
        return entry

    def after(self, sequence: int, *, path: str | None = None, wait: float = 0) -> list[Entry]:
        """Requests later than `sequence`. `path`: only this one, or only what starts so if it ends with `*`.

        `wait`: seconds to wait for a first one; an empty list when none came.
        """
        deadline = time.monotonic() + wait
        with self._arrived:
            while True:
                found = self._later_than(sequence, path)
                remaining = deadline - time.monotonic()
                if found or remaining <= 0 or self._closed:
                    return found
                self._arrived.wait(remaining)

    def clear(self) -> None:
        with self._arrived:
            self._entries.clear()

    def close(self) -> None:
        """Lets go of everyone who waits."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()

    def _later_than(self, sequence: int, path: str | None) -> list[Entry]:
        # Numbers in the list are consecutive, so the place is known without looking.
        first = self.last - len(self._entries) + 1
        later = islice(self._entries, max(0, sequence + 1 - first), None)
        return [dict(entry) for entry in later if path is None or on_path(entry["path"], path)]


def names(pairs: Pairs) -> list[str]:
    """The sorted names: values may be secrets."""
    return sorted(name for name, _ in pairs)

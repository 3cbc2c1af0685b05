"""A log of the requests, without secrets, and a way to wait for the next one."""

import threading
import time
from collections import deque
from itertools import islice
from typing import Any

from integrations.sandbox.http_messages import Request, path_matches
from integrations.sandbox.tokens import fingerprint

KEPT = 20_000

Entry = dict[str, Any]


class RequestLog:
    """The last 20,000 requests. Sequence numbers continue after the log is cleared."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self.last = 0
        self._closed = False

    def add(self, request: Request, *, token: str, company: int | None) -> Entry:
        """The entry of a new request; the caller sets `status` when the answer is known."""
        entry: Entry = {
            "method": request.method,
            "path": request.path,
            "redirect_uri": dict(request.query + request.form).get("redirect_uri"),
            "status": None,
            "token": fingerprint(token) if token else None,
            "company": company,
        }
        with self._changed:
            self.last += 1
            entry["sequence"] = self.last
            self._entries.append(entry)
            self._changed.notify_all()
        return entry

    def after(self, sequence: int, *, path: str = "*", wait: float = 0) -> list[Entry]:
        """Requests after `sequence`. `path`: only this one, or all that start with it if it ends with an asterisk.

        `wait`: seconds to wait for the first one; after that the list is empty.
        """
        deadline = time.monotonic() + wait
        with self._changed:
            while True:
                # Numbers in the list are consecutive, so the position is known without a search.
                start = max(0, sequence - self.last + len(self._entries))
                found = [
                    dict(entry) for entry in islice(self._entries, start, None) if path_matches(entry["path"], path)
                ]
                remaining = deadline - time.monotonic()
                if found or remaining <= 0 or self._closed:
                    return found
                self._changed.wait(remaining)

    def clear(self) -> None:
        with self._changed:
            self._entries.clear()

    def close(self) -> None:
        """Ends all waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

"""Faults that tests order: which requests a fault affects, and what it does to them."""

import base64
import json
import random
import threading
from dataclasses import dataclass, field, fields, replace
from typing import Any

from integrations.sandbox.http_messages import (
    Answer,
    ClientRedirect,
    JSONResponse,
    Request,
    Response,
    path_matches,
)


@dataclass(eq=False)
class Fault:
    """One order. Its fields are the settings of `POST /control/faults`.

    Which requests (all of these must match):
    `path`: this path, or all that start with it if it ends with an asterisk. `company`: with a token of this company.
    `token`: with this access or refresh token. `share`: this share of them, at random. `times`: so many; None: all.

    What happens:
    `delay`: seconds to wait; clearing the faults ends the wait.
    `work`: the request is carried out before the wait and before its answer is replaced.
    `close`: the connection is closed without an answer.
    `status`, `headers`, `body` (text or JSON) or `body_base64`: this answer replaces the real one.
    `change`, `remove`, `duplicate`: fields of the real answer that get another value, are left out, or are sent twice.
    Only JSON objects with status 200 and the redirect back to the application have such fields.

    The delays of all matching faults add up; the answer is that of the oldest one.
    """

    path: str
    company: int | None = None
    token: str | None = field(default=None, repr=False)
    share: float = 1
    times: int | None = None
    delay: float = 0
    work: bool = False
    close: bool = False
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: Any = field(default="", repr=False)
    body_base64: str = field(default="", repr=False)
    change: dict[str, Any] = field(default_factory=dict, repr=False)
    remove: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    cleared: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    @property
    def changes(self) -> bool:
        """Whether it changes fields of the real answer."""
        return bool(self.change or self.remove or self.duplicate)

    @property
    def answers(self) -> bool:
        """Whether it does more than wait."""
        return self.close or self.status is not None or self.changes

    def matches(self, request: Request, token: str, company: int | None) -> bool:
        return (
            self.times != 0
            and path_matches(request.path, self.path)
            and self.company in (None, company)
            and self.token in (None, token)
            and random.random() < self.share  # noqa: S311 (not for security)
        )

    def applies_to(self, answer: Answer | None) -> bool:
        """Whether it acts on this answer; None: the request has not been carried out yet."""
        if answer is None:
            return not (self.work or self.changes)
        if self.changes:
            return isinstance(answer, ClientRedirect) or (isinstance(answer, JSONResponse) and answer.status == 200)
        return self.work

    def response(self, answer: Answer | None) -> Response | None:
        """What is sent instead of this answer; None closes the connection without one."""
        if self.changes and isinstance(answer, ClientRedirect | JSONResponse):
            changed = {name: value for name, value in (answer.fields | self.change).items() if name not in self.remove}
            return replace(answer, fields=changed, duplicate=self.duplicate).render()
        if self.status is None:
            return None
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        body = base64.b64decode(self.body_base64) or text.encode()
        return Response(self.status, body, {"Content-Type": "application/json"} | self.headers)


SETTINGS = {setting.name for setting in fields(Fault) if setting.init}


class Faults:
    """The active faults, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[Fault] = []

    def add(self, settings: dict[str, Any]) -> None:
        """Adds a fault. Raises ValueError, with a sentence, for unknown settings or a missing path."""
        if unknown := settings.keys() - SETTINGS:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}.")
        if not isinstance(settings.get("path"), str):
            raise ValueError("path is missing: a path, or the start of one followed by an asterisk.")
        with self._lock:
            self._active.append(Fault(**settings))

    def clear(self) -> None:
        """Removes all faults and ends their waits."""
        with self._lock:
            cleared, self._active = self._active, []
        for fault in cleared:
            fault.cleared.set()

    def matching(self, request: Request, token: str, company: int | None) -> list[Fault]:
        """The faults for this request, not counted yet."""
        with self._lock:
            return [fault for fault in self._active if fault.matches(request, token, company)]

    def use(self, fault: Fault) -> bool:
        """Counts one use. False if other requests have used it up, or it was cleared."""
        with self._lock:
            if fault not in self._active or fault.times == 0:
                return False
            if fault.times is not None:
                fault.times -= 1
        return True

"""What is known of one delivery, the rule of its retries, and the clock that rule goes by.

Documented: only the answer 200 ends a delivery well; otherwise it is tried 4 more times within the next 2 hours,
then removed. Assumed: when within the 2 hours, and that an answer other than exactly 200 is a failure.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from integrations.sandbox.posting import Message

State = Literal["waiting", "sending", "acknowledged", "dropped"]

# Seconds after the first attempt; assumed.
RETRIES_AFTER = (5 * 60, 15 * 60, 45 * 60, 105 * 60)


class Clock:
    """Seconds that pass `speed` times as fast as real ones, so that two hours of retries fit into a test."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._set_at = time.monotonic()
        self._then = 0.0

    @property
    def speed(self) -> float:
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._then, self._set_at = self.now(), time.monotonic()
        self._speed = speed

    def now(self) -> float:
        return self._then + (time.monotonic() - self._set_at) * self._speed

    def real_seconds_until(self, moment: float) -> float:
        return (moment - self.now()) / self._speed


@dataclass(frozen=True)
class Manner:
    """How messages are sent. The default is the vendor's way; the rest is what tests may order.

    `copies`: how often to each address, in turn or, if `parallel`, at once. `delay`: seconds of the clock before
    the first attempt. `cut`: the first attempt stops in the middle of the body. `chunked`: every attempt has the
    chunked transfer encoding. `retry`: whether a failure is tried again.
    """

    copies: int = 1
    parallel: bool = False
    delay: float = 0.0
    cut: bool = False
    chunked: bool = False
    retry: bool = True


@dataclass(frozen=True)
class Draft:
    """One message to one address. `to`: the address in words, since its text is a secret."""

    message: Message
    to: str
    url: str = field(repr=False)
    event: int | None = None
    inspection: int | None = None


@dataclass(eq=False)
class Delivery:
    """A draft on its way. `batch`: the order it came from; `due`: when its next attempt is, by the clock."""

    id: int
    batch: int
    draft: Draft
    manner: Manner
    due: float
    # What may start once the first attempt of this one is over.
    queue: "deque[Delivery]" = field(repr=False)
    state: State = "waiting"
    first_attempt: float = 0.0
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        return self.state in ("acknowledged", "dropped")

    @property
    def cut(self) -> bool:
        """Whether the attempt to come is the one that stops in the middle."""
        return self.manner.cut and not self.attempts

    def conclude(self, *, began: str, status: int | None, error: str) -> None:
        """Notes what came of an attempt; the delivery is then settled, or waits for its next one."""
        number = len(self.attempts) + 1
        after = RETRIES_AFTER[number - 2] if number > 1 else 0
        self.attempts.append({"attempt": number, "after": after, "time": began, "status": status, "error": error})
        if status == 200:
            self.state = "acknowledged"
        elif self.manner.retry and number <= len(RETRIES_AFTER):
            self.state, self.due = "waiting", self.first_attempt + RETRIES_AFTER[number - 1]
        else:
            self.state = "dropped"

    def described(self, clock: Clock) -> dict[str, Any]:
        """All there is to say about it, but for the address. `next`: when it is tried again, in real time."""
        seconds = clock.real_seconds_until(self.due)
        waits = self.state == "waiting" and seconds > 0
        return {
            "id": self.id,
            "batch": self.batch,
            "event": self.draft.event,
            "inspection": self.draft.inspection,
            "to": self.draft.to,
            "state": self.state,
            "attempts": list(self.attempts),
            "next": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat() if waits else None,
        }

"""Waits for what another process does."""

import threading
import time
from collections.abc import Callable

TIMEOUT = 120.0  # seconds; nothing here should need as many


def wait_until(met: Callable[[], bool], seconds: float = TIMEOUT, *, every: float = 0.05) -> None:
    """Returns as soon as the condition is met; fails after so many seconds."""
    give_up_at = time.monotonic() + seconds
    pause = threading.Event()
    while not met():
        assert time.monotonic() < give_up_at, "waited in vain"
        pause.wait(every)

"""How long to wait before trying again: longer each time, and never all at the same moment."""

import random
from datetime import timedelta

FIRST_RETRY = timedelta(seconds=5)
LAST_RETRY = timedelta(minutes=5)
# A connection that nobody uses is asked once a day, spread out over hours.
IDLE_CHECK = timedelta(hours=24)
# One that needs a person is asked once an hour, in case SnapInspect has changed its mind.
REFUSED_CHECK = timedelta(hours=1)


def backoff(failures: int) -> timedelta:
    """The wait after this many failures in a row: doubling up to five minutes, a fifth of it by chance."""
    return _spread(min(FIRST_RETRY * 2 ** min(failures, 10), LAST_RETRY), 0.8)


def asked(failures: int, retry_after: float) -> timedelta:
    """The wait when SnapInspect has asked for so many seconds."""
    return max(backoff(failures), timedelta(seconds=retry_after))


def until_idle_check() -> timedelta:
    return _spread(IDLE_CHECK, 0.75)


def until_refused_check() -> timedelta:
    return _spread(REFUSED_CHECK, 0.75)


def _spread(wait: timedelta, least: float) -> timedelta:
    return wait * random.uniform(least, 1.0)  # noqa: S311  (spreads load, guards nothing)

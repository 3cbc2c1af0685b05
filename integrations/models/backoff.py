"""How long to wait before something is tried again. Every wait is partly random, so that not all end at once."""

import random
from datetime import timedelta

# SnapInspect does not answer: 5 s, 10 s, 20 s … 5 min.
FIRST_OUTAGE_WAIT = timedelta(seconds=5)
LONGEST_OUTAGE_WAIT = timedelta(minutes=5)
# SnapInspect refuses this app's client ID or secret, which the operator has to mend: 1 min, 2 min, 4 min … 1 h.
FIRST_SETUP_WAIT = timedelta(minutes=1)
LONGEST_SETUP_WAIT = timedelta(hours=1)
# An event's attempt failed, mostly since a handler's own server is down: 10 s, 30 s, 90 s … 2 h.
# The attempts of an event (`Event.MOST_ATTEMPTS`) span some three hours.
FIRST_ATTEMPT_WAIT = timedelta(seconds=10)
LONGEST_ATTEMPT_WAIT = timedelta(hours=2)
# A connection that nobody uses is checked once a day, spread out over hours.
IDLE_CHECK = timedelta(hours=24)
# One that needs a person is checked once an hour, in case SnapInspect accepts its token again.
REFUSED_CHECK = timedelta(hours=1)


def wait_after_outage(failures: int, retry_after: float = 0.0) -> timedelta:
    """The wait after a failure that followed so many in a row, at least the seconds that SnapInspect asked for."""
    wait = _spread(min(FIRST_OUTAGE_WAIT * 2 ** min(failures, 10), LONGEST_OUTAGE_WAIT), 0.8)
    return max(wait, timedelta(seconds=retry_after))


def wait_after_refused_app(failures: int) -> timedelta:
    """The wait after SnapInspect has refused this app, and so many times in a row before."""
    return _spread(min(FIRST_SETUP_WAIT * 2 ** min(failures, 10), LONGEST_SETUP_WAIT), 0.8)


def wait_after_attempt(attempts: int) -> timedelta:
    """The wait after this many attempts at an event before the one that just failed."""
    return _spread(min(FIRST_ATTEMPT_WAIT * 3 ** min(attempts, 10), LONGEST_ATTEMPT_WAIT), 0.8)


def until_idle_check() -> timedelta:
    return _spread(IDLE_CHECK, 0.75)


def until_refused_check() -> timedelta:
    return _spread(REFUSED_CHECK, 0.75)


def _spread(wait: timedelta, least: float) -> timedelta:
    return wait * random.uniform(least, 1.0)  # noqa: S311  (spreads load, guards nothing)

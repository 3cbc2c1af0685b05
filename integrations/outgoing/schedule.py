"""When a delivery is tried again: the schedule that the Standard Webhooks specification recommends.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# The wait before each try, counted from the one before: some three days in all.
WAITS = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
MOST_TRIES = len(WAITS)
LONGEST_RETRY_AFTER = timedelta(hours=24)
# Every wait is up to this much longer, so that what failed together does not return together.
JITTER = 0.1


def wait_after(tries: int, retry_after: timedelta = timedelta(0)) -> timedelta | None:
    """The wait after this many tries, at least what the endpoint asked for; None after the last one."""
    if tries >= MOST_TRIES:
        return None
    wait = WAITS[tries] * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311  (spreads load, guards nothing)
    return max(wait, retry_after)


def retry_after(headers: Mapping[str, str], *, now: datetime | None = None) -> timedelta:
    """What `Retry-After` asks for (RFC 9110 section 10.2.3), up to LONGEST_RETRY_AFTER; zero without a valid one."""
    text = next((value.strip() for name, value in headers.items() if name.lower() == "retry-after"), "")
    if text.isascii() and text.isdecimal():
        return min(timedelta(seconds=min(int(text[:10]), 10**6)), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return timedelta(0)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment - (now or datetime.now(UTC)), timedelta(0)), LONGEST_RETRY_AFTER)

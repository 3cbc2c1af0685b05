"""Checks a token by a call to `/user`.

Only a 401 that repeats after a pause counts as "the token is refused". Any other failure (no answer, 5xx, 403, 429,
unreadable answers) is an outage or a limit and says nothing about the token.
"""

import time
from dataclasses import dataclass
from datetime import timedelta

from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import SnapInspectError, TokenRefused
from integrations.snapinspect.profile import Profile

PAUSE_BEFORE_BELIEVING_401 = 1.0  # seconds


@dataclass(frozen=True)
class Verdict:
    """A profile, or the kind of error; `refused` only for a token that SnapInspect refused twice.

    retry_after: seconds that SnapInspect asked us to wait.
    """

    profile: Profile | None = None
    error_kind: str = ""
    refused: bool = False
    duration: timedelta = timedelta()
    retry_after: float = 0.0


def check(client: Client) -> Verdict:
    """Calls `/user`, and once more after a pause when the token was refused."""
    started = time.monotonic()
    try:
        try:
            profile = client.user()
        except TokenRefused:
            time.sleep(PAUSE_BEFORE_BELIEVING_401)
            profile = client.user()
    except SnapInspectError as error:
        return Verdict(None, error.kind, isinstance(error, TokenRefused), _since(started), error.retry_after or 0.0)
    return Verdict(profile, duration=_since(started))


def _since(started: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - started)

"""What one question to `/user` proves about a token.

Only an answer of 401 that repeats after a pause counts as "the token is refused". Everything else that can go wrong (no
answer, 5xx, 403, 429, rubbish) is an outage or a limit: it says nothing about the token.
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


def ask(client: Client) -> Verdict:
    """Asks `/user`, and once more after a pause when the token was refused."""
    begun = time.monotonic()
    try:
        try:
            profile = client.user()
        except TokenRefused:
            time.sleep(PAUSE_BEFORE_BELIEVING_401)
            profile = client.user()
    except SnapInspectError as error:
        return Verdict(None, error.kind, isinstance(error, TokenRefused), _since(begun), error.retry_after or 0.0)
    return Verdict(profile, "", False, _since(begun))


def _since(begun: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - begun)

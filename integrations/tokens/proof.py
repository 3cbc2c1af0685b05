"""Checks a token by a call to `/user`.

Only a 401 that repeats after a pause counts as "the token is refused"; an answer with status 2xx that says the same in
its body is one, too. Any other failure (no answer, 5xx, 403, 3xx, 429, unreadable answers, answers about nobody or
about another company) is an outage or a limit and says nothing about the token.
"""

import time
from dataclasses import dataclass
from datetime import timedelta

from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import Garbled, SnapInspectError, TokenRefused
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


def check(client: Client, *, company_id: str = "", deadline: float | None = None) -> Verdict:
    """Calls `/user`, and once more after a pause when the token was refused.

    company_id: the company that the token is known to be of, if it is: an answer that names another one, or none, is no
    proof, but an error of the kind "other_account". deadline: seconds for each call, None for the client's own.
    """
    started = time.monotonic()
    try:
        try:
            profile = ask(client, company_id=company_id, deadline=deadline)
        except TokenRefused:
            time.sleep(PAUSE_BEFORE_BELIEVING_401)
            profile = ask(client, company_id=company_id, deadline=deadline)
    except SnapInspectError as error:
        return Verdict(None, error.kind, isinstance(error, TokenRefused), _since(started), error.retry_after or 0.0)
    return Verdict(profile, duration=_since(started))


def ask(client: Client, *, company_id: str, deadline: float | None = None) -> Profile:
    """Returns what `/user` answers, if that is about this account. Raises SnapInspectError.

    company_id: as for `check`. deadline: seconds, None for the client's own.
    """
    profile = client.user(deadline=deadline)
    if company_id and profile.company_id != company_id:
        raise Garbled("other_account")
    return profile


def _since(started: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - started)

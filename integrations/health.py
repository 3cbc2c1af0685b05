"""Is this connection alive? One question to SnapInspect, and what we conclude from the answer.

Only an answer of 401 that repeats after a pause, on `/user`, counts as "the token is refused". Everything else that can
go wrong (no answer, 5xx, 403, 429, rubbish) is an outage or a limit: nothing of it is the customer's fault, nothing is
thrown away, and we ask again later.
"""

import random
import time
from dataclasses import dataclass
from datetime import timedelta

from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations import tokens
from integrations.encryption import CannotUnseal
from integrations.models import Check, Connection, State
from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import SnapInspectError, TokenRefused
from integrations.snapinspect.profile import Profile

PAUSE_BEFORE_BELIEVING_401 = 1.0  # seconds
FIRST_RETRY = timedelta(seconds=5)
LAST_RETRY = timedelta(minutes=5)
# A connection that nobody uses is asked once a day; spread out, so that a thousand of them do not ask at once.
IDLE_CHECK = timedelta(hours=24)


@dataclass(frozen=True)
class Verdict:
    """What one question to `/user` brought: a profile, or the kind of error."""

    profile: Profile | None
    error_kind: str
    refused: bool
    duration: timedelta


def ask(client: Client) -> Verdict:
    """Asks `/user` once, and once more after a pause when the token was refused."""
    begun = time.monotonic()
    try:
        try:
            profile = client.user()
        except TokenRefused:
            time.sleep(PAUSE_BEFORE_BELIEVING_401)
            profile = client.user()
    except SnapInspectError as error:
        return Verdict(None, error.kind, isinstance(error, TokenRefused), _since(begun))
    return Verdict(profile, "", False, _since(begun))


def check(connection: Connection) -> Verdict:
    """Asks SnapInspect with the pair in use, and records on the connection what that proves."""
    asked = tokens.in_use(connection)
    try:
        verdict = ask(tokens.client_for(connection))
    except tokens.NothingKept:
        return Verdict(None, "nothing_kept", False, timedelta())
    except CannotUnseal:
        verdict = Verdict(None, "cannot_unseal", False, timedelta())
    if verdict.refused and tokens.in_use(connection) != asked:
        # While we asked with the old pair, a reconnect or an exchange put a new one in its place.
        return verdict
    _conclude(connection, verdict)
    return verdict


def test(connection: Connection, *, by: User) -> Check:
    """A check that a person asked for, kept with its answer so that its page can be read again."""
    verdict = check(connection)
    profile = verdict.profile
    kept = Check.objects.create(
        connection=connection,
        by=by,
        error_kind=verdict.error_kind,
        duration=verdict.duration,
        company_id=(profile.company_id or "") if profile else "",
        name=(profile.name or "") if profile else "",
        answer=profile.details if profile else None,
    )
    old = Check.objects.filter(connection=connection).order_by("-pk")[Check.KEPT_PER_CONNECTION :]
    Check.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
    audit.record(
        "connection.tested",
        customer=connection.customer,
        actor=by,
        subject=connection.code,
        error=verdict.error_kind,
    )
    return kept


def backoff(failures: int) -> timedelta:
    """How long to wait after this many failures in a row: doubling up to five minutes, a fifth of it by chance."""
    wait: timedelta = min(FIRST_RETRY * 2 ** min(failures, 10), LAST_RETRY)
    return wait * random.uniform(0.8, 1.0)  # noqa: S311  (spreads load, guards nothing)


def next_idle_check() -> timedelta:
    return IDLE_CHECK * random.uniform(0.75, 1.0)  # noqa: S311


def _conclude(connection: Connection, verdict: Verdict) -> None:
    before = connection.state
    if not connection.is_usable:
        return
    if verdict.profile is not None:
        connection.move_to(State.CONNECTED, proved_at=Now(), failed_checks=0, next_check_at=Now() + next_idle_check())
    elif verdict.refused:
        connection.move_to(State.NEEDS_RECONNECT, error_kind=verdict.error_kind, next_check_at=None)
    else:
        failures = connection.failed_checks + 1
        connection.move_to(
            State.SETUP_PROBLEM if verdict.error_kind == "cannot_unseal" else State.TROUBLE,
            error_kind=verdict.error_kind,
            failed_checks=failures,
            next_check_at=Now() + backoff(failures),
        )
    if connection.state != before:
        audit.record(
            f"connection.{connection.state}",
            customer=connection.customer,
            subject=connection.code,
            error=verdict.error_kind,
        )


def _since(begun: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - begun)

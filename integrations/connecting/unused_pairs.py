"""Revokes token pairs that came back for a state of ours, and are used for nothing.

Somebody was signed out, too late, or in another browser: nothing is connected, but the tokens stand in the browser's
history and work. A worker exchanges such a pair once and discards the answer, which ends both tokens. Until then the
pair is stored, for GIVE_UP_AFTER at most.

A link scanner opens the address before the person does, without their session. So a pair that came without a session
is revoked when its state has expired, unless the person came with it meanwhile.
"""

import logging
from datetime import datetime, timedelta

from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from integrations.connecting import oauth_state
from integrations.models import ConnectAttempt, GuestTokenPair, TokenPair
from integrations.snapinspect import token_pair
from integrations.snapinspect.errors import SnapInspectError, Unreachable
from integrations.tokens import guest_tokens
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.guest_tokens import LeasedGuestPair
from integrations.tokens.lease import LostLease

logger = logging.getLogger(__name__)

RETRY_PAUSE = timedelta(seconds=30)
# After it was due. When SnapInspect cannot be reached for so long, the pair is erased and may still work.
GIVE_UP_AFTER = timedelta(minutes=10)


def keep(attempt: ConnectAttempt, pair: token_pair.TokenPair | None, *, may_still_be_used: bool = False) -> None:
    """Stores the pair of a callback that ended nowhere, until a worker has revoked it.

    may_still_be_used: the same callback may yet succeed, with the session that began.
    """
    attempt.refresh_from_db(fields=["fingerprint", "used_at", "issued_at"])
    if pair is None or attempt.fingerprint == token_pair.fingerprint(pair.access):
        return  # the pair that this attempt brought before
    waits = may_still_be_used and attempt.used_at is None
    guest_tokens.keep_to_revoke(attempt, pair, at=_expires_at(attempt) if waits else timezone.now())


def revoke(pk: int) -> None:
    """Exchanges this pair, discards the answer and erases it here; or plans another try when nothing was sent."""
    held = guest_tokens.claim_to_revoke(pk)
    if held is None:
        return
    try:
        with held:
            _revoke(held)
    except LostLease:
        logger.info("Another worker has taken over guest pair %s.", pk)


def _revoke(held: LeasedGuestPair) -> None:
    row = held.pair
    if row.fingerprint == row.attempt.fingerprint or TokenPair.objects.filter(fingerprint=row.fingerprint).exists():
        return held.erase()  # a connection or a sign-in has this pair
    if row.exchange_sent_at is not None:  # by a process that was killed
        return _end(held, revoked=False)
    try:
        held.revoke()
    except Unreachable:
        if held.pair.exchange_sent_at is None and _in_time(row):
            return held.write(next_try_at=Now() + RETRY_PAUSE)
        return _end(held, revoked=False)
    except (SnapInspectError, CannotUnseal):
        return _end(held, revoked=False)
    return _end(held, revoked=True)


def _in_time(row: GuestTokenPair) -> bool:
    return timezone.now() < max(row.received_at, _expires_at(row.attempt)) + GIVE_UP_AFTER


def _expires_at(attempt: ConnectAttempt) -> datetime:
    """When the state has expired, whichever clock it was issued by."""
    soon = min(attempt.issued_at, timezone.now()) + ConnectAttempt.LIFETIME
    return soon + oauth_state.CLOCK_TOLERANCE


def _end(held: LeasedGuestPair, *, revoked: bool) -> None:
    attempt = held.pair.attempt
    held.erase()
    audit.record(
        "connect.unused_ended",
        customer=attempt.customer,
        actor=attempt.user,
        subject=attempt.connection.code if attempt.connection else "",
        purpose=attempt.purpose,
        ended_at_snapinspect=revoked,
    )

"""OAuth's state parameter: proves that a callback belongs to an attempt that this browser began.

Threats (RFC 6749 section 10.12, RFC 9700 section 4.7): login CSRF, replay, a swap between customers or browsers. A
signature stops forgery only. So the state is a random value, stored as a hash, bound to the session, the purpose, and
the person and customer if there are any yet, and good for `ConnectAttempt.LIFETIME` and one use.
"""

import hashlib
import secrets
from datetime import timedelta
from enum import StrEnum

from django.core.signing import BadSignature, Signer
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import Customer, User
from integrations.models import ConnectAttempt, Connection, ConnectSession, GuestTokenPair, Purpose

# How far the clock of the host that issued the state may run ahead of the database's.
CLOCK_TOLERANCE = timedelta(minutes=1)
# "." needs no percent-encoding, so a careless encoder does not change the state. Another salt would invalidate states
# that were issued before a deployment.
_signer = Signer(salt="integrations.state", sep=".")


class Refusal(StrEnum):
    UNKNOWN = "unknown"
    USED = "used"
    EXPIRED = "expired"
    OTHER_PERSON = "other-person"
    OTHER_BROWSER = "other-browser"


def issue(
    *,
    session_key: str,
    purpose: Purpose = Purpose.CONNECT,
    user: User | None = None,
    customer: Customer | None = None,
    connection: Connection | None = None,
    hosted: ConnectSession | None = None,
) -> str:
    """A fresh state for this browser session and purpose.

    A Connect needs `user` and `customer`, and `connection` where one is reconnected; a hosted one needs `hosted` and
    `customer`, and the value of its cookie in place of a session's key; a link needs `user`; a sign-in has nobody yet.
    """
    state = _signer.sign(secrets.token_urlsafe(32))
    ConnectAttempt.objects.create(
        state_hash=_hash(state),
        session_hash=_hash(session_key),
        purpose=purpose,
        user=user,
        customer=customer,
        connection=connection,
        hosted=hosted,
        issued_at=timezone.now(),
    )
    return state


def find(state: str | None) -> ConnectAttempt | None:
    """The attempt this state belongs to, or None for one that we never issued. Does not use it up."""
    state = state or ""
    try:
        _signer.unsign(state)
    except BadSignature:
        return None
    return ConnectAttempt.objects.select_related("user", "customer", "hosted").filter(state_hash=_hash(state)).first()


def redeem(
    state: str | None, *, session_key: str | None, user: User | None
) -> tuple[ConnectAttempt | None, Refusal | None]:
    """The attempt this state was issued for, and why it is refused, if it is.

    Uses the state up before anything else is checked, so that showing it in another person's session invalidates it. A
    conditional UPDATE decides between concurrent callbacks.
    """
    attempt = find(state)
    if attempt is None:
        return None, Refusal.UNKNOWN
    won = ConnectAttempt.objects.filter(pk=attempt.pk, used_at=None).update(used_at=Now()) == 1
    if attempt.user_id != (user.pk if user else None):
        return attempt, Refusal.OTHER_PERSON
    if attempt.session_hash != _hash(session_key or ""):
        return attempt, Refusal.OTHER_BROWSER
    if not won:
        return attempt, Refusal.USED
    in_time = ConnectAttempt.objects.filter(
        pk=attempt.pk, issued_at__gt=Now() - ConnectAttempt.LIFETIME, issued_at__lte=Now() + CLOCK_TOLERANCE
    ).exists()
    return attempt, None if in_time else Refusal.EXPIRED


def latest_guest_pair(session_key: str | None, purpose: Purpose) -> GuestTokenPair | None:
    """The pair that this browser session brought back last for this purpose, if it is recent."""
    recent = GuestTokenPair.objects.recent().filter(
        attempt__purpose=purpose, attempt__session_hash=_hash(session_key or "")
    )
    return recent.select_related("attempt").first()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

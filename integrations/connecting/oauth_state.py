"""The state parameter: proves that a return from SnapInspect belongs to a Connect that this browser began.

Threats (RFC 6749 §10.12, RFC 9700 §4.7): login CSRF, replay, a swap between customers or browsers. A signature alone
stops none of them but forgery: it can be replayed and is not bound to a browser. So the state is a random value that is
known here by its hash only, bound to the session, to what it is for, and to the person and customer if there are any
yet, good for ten minutes and for one use.
"""

import hashlib
import secrets
from datetime import timedelta
from enum import StrEnum

from django.core.signing import BadSignature, Signer
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import Customer, User
from integrations.models import ConnectAttempt, Connection, GuestTokenPair, Purpose

LIFETIME = timedelta(minutes=10)
# How far an issuing host's clock may run ahead of the database's.
CLOCK_TOLERANCE = timedelta(minutes=1)
# "." needs no percent-encoding: the state comes back as it left, even from a sloppy encoder.
_signer = Signer(salt="integrations.connecting.state", sep=".")


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
) -> str:
    """A fresh state for this browser session and purpose.

    A Connect needs `user` and `customer`, and `connection` where one is reconnected; a link needs `user`; a sign-in has
    nobody yet.
    """
    state = _signer.sign(secrets.token_urlsafe(32))
    ConnectAttempt.objects.create(
        state_hash=_hash(state),
        session_hash=_hash(session_key),
        purpose=purpose,
        user=user,
        customer=customer,
        connection=connection,
        issued_at=timezone.now(),
    )
    return state


def find(state: str | None) -> ConnectAttempt | None:
    """The attempt this state belongs to, or None for one that we never issued. Uses nothing up."""
    try:
        _signer.unsign(state or "")
    except BadSignature:
        return None
    return ConnectAttempt.objects.select_related("user", "customer").filter(state_hash=_hash(state or "")).first()


def redeem(
    state: str | None, *, session_key: str | None, user: User | None
) -> tuple[ConnectAttempt | None, Refusal | None]:
    """The attempt this state was issued for, and why it may not go on, if it may not.

    The state is used up before anything else is looked at, whoever brings it: shown in another signed-in person's
    session it is burnt. One conditional UPDATE decides between racing returns.
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
        pk=attempt.pk, issued_at__gt=Now() - LIFETIME, issued_at__lte=Now() + CLOCK_TOLERANCE
    ).exists()
    return attempt, None if in_time else Refusal.EXPIRED


def latest_guest_pair(session_key: str | None, purpose: Purpose) -> GuestTokenPair | None:
    """What this browser session has brought back last for this purpose, a short while ago."""
    recent = GuestTokenPair.objects.recent().filter(
        attempt__purpose=purpose, attempt__session_hash=_hash(session_key or "")
    )
    return recent.select_related("attempt").first()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""Identifies a SnapInspect user by a guest token pair, to link that user or to sign in.

The pair is exchanged first, and only the answer of `/user` to the new token is believed. A token by itself does not
prove who brings it (RFC 6749 section 10.16): one that was issued to another app could be pasted into our callback. An
exchange needs our client secret and succeeds for our pairs only.

`views.sign_in` does the signing in, in the browser session that began.
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from accounts import audit
from accounts.access import MAY_CONNECT
from accounts.models import User
from integrations.models import (
    ConnectAttempt,
    Connection,
    GuestTokenPair,
    Kind,
    LinkedUser,
    Purpose,
    SignInOutcome,
    State,
)
from integrations.snapinspect.errors import SnapInspectError, Unreachable
from integrations.snapinspect.profile import Profile, user_id
from integrations.tokens import guest_tokens, proof
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.guest_tokens import LeasedGuestPair
from integrations.tokens.lease import LostLease

logger = logging.getLogger(__name__)

RETRY_PAUSE = timedelta(seconds=2)
KEPT = timedelta(days=1)


def process(pk: int) -> None:
    """Identifies the user of this guest pair, or plans another try. The pair is moved to a connection, or erased."""
    guest = guest_tokens.claim(pk)
    if guest is None:
        return
    try:
        with guest:
            _process(guest)
    except LostLease:
        logger.info("Another worker has taken over guest pair %s.", pk)


def find_linked_user(vendor_user_id: str) -> User | None:
    """The active user who has linked this SnapInspect user."""
    link = LinkedUser.objects.select_related("user").filter(vendor_user_id=vendor_user_id, user__is_active=True).first()
    return link.user if link else None


def delete_old_attempts() -> None:
    """Deletes attempts to link or sign in, with their guest pairs, KEPT after they were issued."""
    stored = GuestTokenPair.objects.filter(attempt=OuterRef("pk")).exclude(sealed_refresh=b"")
    ConnectAttempt.objects.filter(purpose__in=[Purpose.LINK, Purpose.SIGN_IN], issued_at__lt=Now() - KEPT).exclude(
        Exists(stored)
    ).delete()


def _process(guest: LeasedGuestPair) -> None:
    row = guest.pair
    try:
        if row.exchanged_at is None:
            if row.exchange_sent_at is not None:  # by a process that was killed: the answer is lost
                return _end(guest, SignInOutcome.UNREACHABLE)
            guest.exchange()
        verdict = proof.check(guest.client())
    except CannotUnseal:
        return _end(guest, SignInOutcome.SETUP)
    except Unreachable:
        return _retry_later(guest)
    except SnapInspectError:
        return _end(guest, SignInOutcome.REFUSED)
    if verdict.refused:
        return _end(guest, SignInOutcome.REFUSED)
    if verdict.profile is None:
        return _retry_later(guest)
    who = user_id(verdict.profile, settings.SNAPINSPECT_SIGN_IN_FIELD)
    if who is None:
        return _end(guest, SignInOutcome.NAMELESS)
    return _identified(guest, who, verdict.profile)


def _identified(guest: LeasedGuestPair, who: str, profile: Profile) -> None:
    attempt = guest.pair.attempt
    with transaction.atomic():
        if attempt.user is not None:
            outcome = _link(attempt.user, who, profile.name or "")
            person = attempt.user if outcome == SignInOutcome.LINKED else None
        else:
            person = find_linked_user(who)
            outcome = SignInOutcome.KNOWN if person else SignInOutcome.UNKNOWN
        guest.write(vendor_user_id=who)
        connection = _renewable(person, profile.company_id) if person else None
        if connection and person:
            guest.move_to(connection, by=person)
            audit.record("connect.renewed", customer=connection.customer, actor=person, subject=connection.code)
        _end(guest, outcome, person=person, moved=connection is not None)


def _link(person: User, who: str, name: str) -> SignInOutcome:
    theirs = LinkedUser.objects.filter(user=person).first()
    if theirs is not None:
        return SignInOutcome.LINKED if theirs.vendor_user_id == who else SignInOutcome.OTHER
    try:
        with transaction.atomic():
            LinkedUser.objects.create(user=person, vendor_user_id=who, name=name)
    except IntegrityError:  # linked by somebody else, or by this person in another window
        return SignInOutcome.TAKEN
    return SignInOutcome.LINKED


def _renewable(person: User, company_id: str | None) -> Connection | None:
    """The latest connection that this person made for this company, where they may still connect.

    The new grant may have invalidated the pair that it uses. Connections that others made, that were disconnected, or
    that wait for the answer to a question are not changed.
    """
    if not company_id:
        return None
    theirs = (
        Connection.objects.filter(
            connected_by=person, company_id=company_id, kind=Kind.CONNECT, connected_at__isnull=False,
            customer__memberships__user=person, customer__memberships__role__in=MAY_CONNECT,
        )
        .exclude(state=State.DISCONNECTED)
        .exclude(pairs__asks=True)
        .select_related("customer")
        .order_by("-connected_at")
    )  # fmt: skip
    found: list[Connection] = list(theirs)
    for connection in found[1:]:
        connection.check_soon()
    return found[0] if found else None


def _retry_later(guest: LeasedGuestPair) -> None:
    """Plans another try, unless the answer of an exchange is lost, or GIVE_UP_AFTER has passed."""
    rows = GuestTokenPair.objects.filter(pk=guest.pair.pk)
    in_time = rows.filter(received_at__gt=Now() - GuestTokenPair.GIVE_UP_AFTER).exists()
    answer_lost = guest.pair.exchange_sent_at is not None and guest.pair.exchanged_at is None
    if answer_lost or not in_time:
        return _end(guest, SignInOutcome.UNREACHABLE)
    return guest.write(next_try_at=Now() + RETRY_PAUSE)


def _end(guest: LeasedGuestPair, outcome: SignInOutcome, *, person: User | None = None, moved: bool = False) -> None:
    """Records the outcome, and erases the pair unless it was moved to a connection."""
    attempt = guest.pair.attempt
    ended_at_snapinspect = guest.pair.exchanged_at is not None
    with transaction.atomic():
        guest.write(outcome=outcome)
        if not moved:
            guest.erase()
        audit.record(
            f"{attempt.purpose}.{outcome}",
            actor=person or attempt.user,
            snapinspect_user=guest.pair.vendor_user_id,
            fingerprint=guest.pair.fingerprint,
            kept=moved,
            ended_at_snapinspect=ended_at_snapinspect,
        )

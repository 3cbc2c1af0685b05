"""Who somebody is at SnapInspect, and what becomes of the pair that they brought to show it.

The exchange comes first, and only what `/user` says to the new token is believed. Tokens that were issued to another
app could be pasted into our callback by whoever holds them; an exchange works with our client secret, for pairs that
are ours (RFC 6749 section 10.16 on why a token by itself proves nothing about who brings it).

Nothing here signs anybody in: `views.sign_in` does, in the one browser session that began.
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
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

PAUSE = timedelta(seconds=2)
KEPT = timedelta(days=1)


def process(pk: int) -> None:
    """Takes an introduction to its outcome, or to a later try. Its pair ends in a connection, or is erased."""
    guest = guest_tokens.claim(pk)
    if guest is None:
        return
    try:
        with guest:
            _process(guest)
    except LostLease:
        logger.info("Left introduction %s to whoever has it now.", pk)


def find_linked_user(vendor_user_id: str) -> User | None:
    """The person who has linked this SnapInspect user, and may still sign in."""
    link = LinkedUser.objects.select_related("user").filter(vendor_user_id=vendor_user_id, user__is_active=True).first()
    return link.user if link else None


def delete_old_attempts() -> None:
    """Forgets departures that were no Connect, with their introductions, when nobody can ask about them any more."""
    ConnectAttempt.objects.exclude(purpose=Purpose.CONNECT).filter(
        Q(guest_pair=None) | Q(guest_pair__sealed_refresh=b""), issued_at__lt=Now() - KEPT
    ).delete()


def _process(guest: LeasedGuestPair) -> None:
    row = guest.pair
    try:
        if row.exchanged_at is None:
            if row.exchange_sent_at is not None:  # by a process that is gone, and its answer with it
                return _end(guest, SignInOutcome.UNREACHABLE)
            guest.exchange()
        verdict = proof.check(guest.client())
    except CannotUnseal:
        return _end(guest, SignInOutcome.SETUP)
    except Unreachable:
        return _later(guest)
    except SnapInspectError:
        return _end(guest, SignInOutcome.REFUSED)
    if verdict.refused:
        return _end(guest, SignInOutcome.REFUSED)
    if verdict.profile is None:
        return _later(guest)
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
    except IntegrityError:  # somebody else's; or two windows of one person, and the other one won
        return SignInOutcome.TAKEN
    return SignInOutcome.LINKED


def _renewable(person: User, company_id: str | None) -> Connection | None:
    """The connection that this person made for this company, where they may still connect: the latest of several.

    The fresh grant may have killed the pair that it uses. Connections that others made are left alone, and so are those
    that were disconnected on purpose, or wait for an answer to a question.
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


def _later(guest: LeasedGuestPair) -> None:
    """Another try, unless an exchange was sent whose answer is lost, or it has taken too long already."""
    rows = GuestTokenPair.objects.filter(pk=guest.pair.pk)
    in_time = rows.filter(received_at__gt=Now() - GuestTokenPair.GIVE_UP_AFTER).exists()
    answer_lost = guest.pair.exchange_sent_at is not None and guest.pair.exchanged_at is None
    if answer_lost or not in_time:
        return _end(guest, SignInOutcome.UNREACHABLE)
    return guest.write(next_try_at=Now() + PAUSE)


def _end(guest: LeasedGuestPair, outcome: SignInOutcome, *, person: User | None = None, moved: bool = False) -> None:
    """Writes down what came of it, and erases the pair, unless a connection has it now."""
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

"""Invitations by mail: sending, withdrawing and accepting them."""

import hashlib
import re
import secrets
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.http import urlsafe_base64_encode

from accounts import audit, branded_mail
from accounts.models import AuditEntry, Customer, Invitation, Membership, Role, User

LIFETIME = timedelta(days=7)
DOUBLE_CLICK = timedelta(seconds=10)
# Invitations that one customer, and one user, may send in 24 hours.
MAX_PER_DAY = 30
SENT = "member.invited"


class CannotInvite(Exception):
    """Nothing was sent and nothing has changed; the text says why, for the person who invites."""


def invite(request: HttpRequest, customer: Customer, email: str, role: Role, *, by: User) -> Invitation:
    """Mails a link by which the owner of this address may join. Sent again, it is the same link, and works longer.

    Within DOUBLE_CLICK of the last time nothing is sent. Raises CannotInvite. Whether the address has an account makes
    no difference and is not told.
    """
    email = email.strip().lower()
    with transaction.atomic():
        customer.lock()
        if customer.memberships.filter(user__email__iexact=email).exists():
            raise CannotInvite("This person is already a member.")
        before = Invitation.objects.pending().filter(customer=customer, email=email).first()
        if before is not None and before.role == role and before.expires_at > timezone.now() + LIFETIME - DOUBLE_CLICK:
            return before
        _check_limit(customer, by)
        invitation, _ = Invitation.objects.pending().update_or_create(
            customer=customer,
            email=email,
            defaults={"role": role, "invited_by": by, "expires_at": timezone.now() + LIFETIME},
            create_defaults={
                "role": role,
                "invited_by": by,
                "expires_at": timezone.now() + LIFETIME,
                "token_hash": secrets.token_hex(32),  # until its number is known
            },
        )
        token = _token(invitation)
        invitation.token_hash = _hash(token)
        invitation.save(update_fields=["token_hash"])
        audit.record(SENT, customer=customer, actor=by, person=email, role=role.value)
    try:
        branded_mail.send(
            "accounts/mail/invitation.txt",
            {
                "company": name_without_links(customer.name),
                "invitation": invitation,
                "link": request.build_absolute_uri(reverse("invitation", args=[token])),
                "days": LIFETIME.days,
            },
            to=email,
        )
    except OSError:
        _undo(invitation, before, by=by)
        raise CannotInvite("We could not send the email, so nobody was invited. Try again in a few minutes.") from None
    return invitation


def withdraw(invitation: Invitation, *, by: User) -> bool:
    """Ends the invitation; returns False if it was accepted or withdrawn already."""
    with transaction.atomic():
        done = invitation.withdraw()
        if done:
            audit.record("invitation.withdrawn", customer=invitation.customer, actor=by, person=invitation.email)
    return done


def find(token: str) -> Invitation | None:
    """The invitation that this link's token belongs to, if it still works."""
    rows = Invitation.objects.live().select_related("customer", "invited_by")
    return rows.filter(token_hash=_hash(token)).first()


def is_for(invitation: Invitation, user: User) -> bool:
    """Whether the invited address is this user's: the one they sign in with, or another they have confirmed."""
    return (
        user.email.lower() == invitation.email
        or EmailAddress.objects.filter(user=user, email__iexact=invitation.email, verified=True).exists()
    )


def accept(invitation: Invitation, user: User) -> bool:
    """Makes this user a member and marks the invitation accepted, or does neither and returns False.

    Following the mailed link proves that the address is theirs, so it counts as confirmed.
    """
    with transaction.atomic():
        invitation.customer.lock()
        if not invitation.accept():
            return False
        _, joined = Membership.objects.get_or_create(
            user=user, customer=invitation.customer, defaults={"role": invitation.role}
        )
        for address in EmailAddress.objects.filter(user=user, email__iexact=invitation.email):
            address.set_verified()
        if joined:
            audit.record(
                "member.joined", customer=invitation.customer, actor=user, person=user.email, role=invitation.role
            )
    return True


def _token(invitation: Invitation) -> str:
    """The secret in this invitation's link: made of SECRET_KEY and its number, so that each mail has the same one."""
    return urlsafe_base64_encode(
        salted_hmac("accounts.invitations", f"invitation {invitation.pk}", algorithm="sha256").digest()
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _check_limit(customer: Customer, by: User) -> None:
    """Raises CannotInvite. Counts in the audit trail, so that withdrawing does not allow more."""
    theirs = Q(customer=customer) if by.is_staff else Q(customer=customer) | Q(actor=by)
    today = AuditEntry.objects.filter(theirs, kind=SENT, at__gt=timezone.now() - timedelta(days=1))
    if today.count() >= MAX_PER_DAY:
        raise CannotInvite(f"{MAX_PER_DAY} invitations were sent within a day. Please go on tomorrow.")


def _undo(invitation: Invitation, before: Invitation | None, *, by: User) -> None:
    # Another mail may have been sent meanwhile, which made it work longer.
    rows = Invitation.objects.pending().filter(pk=invitation.pk, expires_at=invitation.expires_at)
    with transaction.atomic():
        if before is None:
            rows.delete()
        else:
            rows.update(
                role=before.role,
                token_hash=before.token_hash,
                invited_by=before.invited_by,
                expires_at=before.expires_at,
            )
        audit.record("invitation.not_sent", customer=invitation.customer, actor=by, person=invitation.email)


def name_without_links(name: str) -> str:
    """A company's name for a mail to a stranger: one line, with nothing that a mail program would turn into a link.

    Names are the only words in such a mail that a user chooses.
    """
    return " ".join(re.sub(r"(?<=\S)[.:/@\\]+(?=\S)", " ", name).split())

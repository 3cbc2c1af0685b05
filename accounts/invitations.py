"""Inviting people by mail, and what following the mail's link leads to."""

import hashlib
import re
import secrets
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from accounts import audit
from accounts.models import AuditEntry, Customer, Invitation, Membership, Role, User

LIFETIME = timedelta(days=7)
# Invitations that one customer, and one person, may send in 24 hours.
MOST_PER_DAY = 30
SENT = "member.invited"


class CannotInvite(Exception):
    """Nothing was sent, and nothing has changed."""


class AlreadyMember(CannotInvite):
    """Who is invited belongs to the customer."""


class TooMany(CannotInvite):
    """The customer, or who invites, has sent as many as a day allows."""


class MailFailed(CannotInvite):
    """The mail server did not take the mail."""


# What people are told.
WHY_NOT = {
    AlreadyMember: "This person belongs to the company already.",
    TooMany: f"{MOST_PER_DAY} invitations were sent within a day. Please go on tomorrow.",
    MailFailed: "The mail could not be sent, so nobody was invited. Please try again in a few minutes.",
}


def invite(request: HttpRequest, customer: Customer, email: str, role: Role, *, by: User) -> Invitation:
    """Mails a link by which the owner of this address may join; invited again, only the newest link works.

    Raises CannotInvite. Whether the address has an account is neither asked nor told.
    """
    email, token = email.strip().lower(), secrets.token_urlsafe(32)
    with transaction.atomic():
        customer.lock()
        if customer.memberships.filter(user__email__iexact=email).exists():
            raise AlreadyMember
        _count(customer, by)
        before = Invitation.objects.pending().filter(customer=customer, email=email).first()
        invitation, _ = Invitation.objects.pending().update_or_create(
            customer=customer,
            email=email,
            defaults={
                "role": role,
                "token_hash": _hash(token),
                "invited_by": by,
                "expires_at": timezone.now() + LIFETIME,
            },
        )
        audit.record(SENT, customer=customer, actor=by, person=email, role=role.value)
    try:
        _mail(invitation, request.build_absolute_uri(reverse("invitation", args=[token])))
    except OSError:  # SMTP's own errors, too
        _take_back(invitation, before, by=by)
        raise MailFailed from None
    return invitation


def withdraw(invitation: Invitation, *, by: User) -> bool:
    """Ends the invitation; False when it was accepted or withdrawn already."""
    with transaction.atomic():
        done = invitation.withdraw()
        if done:
            audit.record("invitation.withdrawn", customer=invitation.customer, actor=by, person=invitation.email)
    return done


def find(token: str) -> Invitation | None:
    """The invitation that this link's token opens now, if there is one."""
    rows = Invitation.objects.live().select_related("customer", "invited_by")
    return rows.filter(token_hash=_hash(token)).first()


def is_for(invitation: Invitation, user: User) -> bool:
    """Whether the invited address is this person's: the one they sign in with, or another they have confirmed."""
    return (
        user.email.lower() == invitation.email
        or EmailAddress.objects.filter(user=user, email__iexact=invitation.email, verified=True).exists()
    )


def accept(invitation: Invitation, user: User) -> bool:
    """Makes this person a member and uses the invitation up, or neither; False if it is used up already.

    Who has followed the mailed link has shown that the address is theirs.
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


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _count(customer: Customer, by: User) -> None:
    """Raises TooMany. Counted in the trail, so that withdrawing does not make room for more."""
    theirs = Q(customer=customer) if by.is_staff else Q(customer=customer) | Q(actor=by)
    today = AuditEntry.objects.filter(theirs, kind=SENT, at__gt=timezone.now() - timedelta(days=1))
    if today.count() >= MOST_PER_DAY:
        raise TooMany


def _take_back(invitation: Invitation, before: Invitation | None, *, by: User) -> None:
    rows = Invitation.objects.pending().filter(pk=invitation.pk, token_hash=invitation.token_hash)
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


def _mail(invitation: Invitation, link: str) -> None:
    text = render_to_string(
        "accounts/mail/invitation.txt",
        {
            "app_name": settings.APP_NAME,
            "company": in_a_mail(invitation.customer.name),
            "invitation": invitation,
            "link": link,
            "days": LIFETIME.days,
        },
    )
    subject, _, body = text.strip().partition("\n")
    EmailMessage(subject.strip(), body.strip() + "\n", to=[invitation.email]).send()


def in_a_mail(name: str) -> str:
    """A company's name for a mail to an outsider: one line, and nothing that a mail program would make a link of.

    Names are the only words of such a mail that a person chooses.
    """
    return " ".join(re.sub(r"(?<=\S)[.:/@\\]+(?=\S)", " ", name).split())

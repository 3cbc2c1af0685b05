"""Which mails each user wants, and links in those mails that unsubscribe without a sign-in."""

from datetime import datetime, timedelta

from django.core import signing
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from accounts import audit
from accounts.models import Customer, Membership, Role, User

# When the daily digest is sent, UTC.
DIGEST_HOUR = 7
# What an unsubscribe link ends: the mails about one customer's trouble, or one user's digest.
TROUBLE, DIGEST = "trouble", "digest"
_signer = signing.Signer(salt="accounts.choices.stop")


def trouble_recipients(customer: Customer) -> list[Membership]:
    """Who is mailed when something of this customer needs a person, and when it works again.

    Everybody who wants it; if no owner does, all owners beside them, because somebody has to be told.
    """
    members = customer.memberships.active().select_related("user")
    recipients = list(members.wanting_trouble_mails().order_by("pk"))
    if not any(membership.role == Role.OWNER for membership in recipients):
        recipients += members.owners().order_by("pk")
    return recipients


def save(membership: Membership, *, trouble_mails: bool, daily_digest: bool) -> bool:
    """Saves what this user wants to be mailed about this customer; returns whether anything changed."""
    if (membership.gets_trouble_mails, membership.daily_digest) == (trouble_mails, daily_digest):
        return False
    with transaction.atomic():
        Membership.objects.filter(pk=membership.pk).update(trouble_mails=trouble_mails, daily_digest=daily_digest)
        _schedule_digest(membership.user)
        audit.record(
            "notifications.changed",
            customer=membership.customer,
            actor=membership.user,
            trouble=trouble_mails,
            digest=daily_digest,
        )
    return True


def next_digest(after: datetime) -> datetime:
    """The first time after this moment at which digests are sent."""
    today = after.replace(hour=DIGEST_HOUR, minute=0, second=0, microsecond=0)
    return today if today > after else today + timedelta(days=1)


def unsubscribe_path(what: str, pk: int) -> str:
    """The path of the page that ends these mails: TROUBLE with a membership's pk, or DIGEST with a user's."""
    return reverse("stop_mails", args=[_signer.sign(f"{what}.{pk}")])


def unsubscribe_headers(url: str) -> dict[str, str]:
    """The headers of one-click unsubscribe (RFC 8058); `url` is the absolute one of unsubscribe_path()."""
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def read_unsubscribe(signed: str) -> tuple[str, int] | None:
    """The arguments of unsubscribe_path() from its last segment; None if the signature is wrong."""
    try:
        what, _, pk = _signer.unsign(signed).partition(".")
    except signing.BadSignature:
        return None
    return what, int(pk)


def unsubscribe(what: str, pk: int) -> None:
    """Ends these mails. Does nothing if they have ended, or if the user or membership is gone."""
    memberships = Membership.objects.select_related("user", "customer")
    rows = memberships.filter(pk=pk) if what == TROUBLE else memberships.filter(user=pk, daily_digest=True)
    for membership in rows:
        save(
            membership,
            trouble_mails=membership.gets_trouble_mails and what != TROUBLE,
            daily_digest=membership.daily_digest and what != DIGEST,
        )


def _schedule_digest(user: User) -> None:
    wanted = user.memberships.filter(daily_digest=True).exists()
    changed = User.objects.filter(pk=user.pk, next_digest_at__isnull=wanted)
    changed.update(next_digest_at=next_digest(timezone.now()) if wanted else None)

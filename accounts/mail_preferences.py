"""Which mails somebody wants, and the links in them that end them without signing in."""

from datetime import datetime, timedelta

from django.core import signing
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from accounts import audit
from accounts.models import Customer, Membership, Role, User

# When the daily digest goes out, UTC.
DIGEST_HOUR = 7
# What a mail's link may end: the mails about one customer's trouble, or one person's digest.
TROUBLE, DIGEST = "trouble", "digest"
_signer = signing.Signer(salt="accounts.unsubscribe")


def trouble_recipients(customer: Customer) -> list[Membership]:
    """Who hears that something of this customer needs a person, and that it works again.

    Everybody who wants to; all owners beside them, should no owner want to: somebody has to be told.
    """
    members = customer.memberships.active().select_related("user")
    told = list(members.wanting_trouble_mails().order_by("pk"))
    if not any(membership.role == Role.OWNER for membership in told):
        told += members.owners().order_by("pk")
    return told


def save(membership: Membership, *, trouble_mails: bool, daily_digest: bool) -> bool:
    """Notes what this person wants to be sent about this customer; returns whether that is new."""
    if (membership.gets_trouble_mails, membership.daily_digest) == (trouble_mails, daily_digest):
        return False
    with transaction.atomic():
        Membership.objects.filter(pk=membership.pk).update(trouble_mails=trouble_mails, daily_digest=daily_digest)
        _plan_digest(membership.user)
        audit.record(
            "notifications.changed",
            customer=membership.customer,
            actor=membership.user,
            trouble=trouble_mails,
            digest=daily_digest,
        )
    return True


def next_digest(after: datetime) -> datetime:
    """The next time that digests go out, later than this moment."""
    today = after.replace(hour=DIGEST_HOUR, minute=0, second=0, microsecond=0)
    return today if today > after else today + timedelta(days=1)


def unsubscribe_path(what: str, pk: int) -> str:
    """The path of the page that ends these mails: of a membership's TROUBLE, or of a user's DIGEST."""
    return reverse("stop_mails", args=[_signer.sign(f"{what}.{pk}")])


def unsubscribe_headers(address: str) -> dict[str, str]:
    """What lets a mail program offer to end these mails (RFC 8058): `address` is the full one of unsubscribe_path()."""
    return {"List-Unsubscribe": f"<{address}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def read_unsubscribe(signed: str) -> tuple[str, int] | None:
    """What a signed link is about; None for one that was not made here."""
    try:
        what, _, pk = _signer.unsign(signed).partition(".")
    except signing.BadSignature:
        return None
    return what, int(pk)


def unsubscribe(what: str, pk: int) -> None:
    """Ends these mails. Doing so again, or for somebody who is gone, changes nothing."""
    memberships = Membership.objects.select_related("user", "customer")
    rows = memberships.filter(pk=pk) if what == TROUBLE else memberships.filter(user=pk, daily_digest=True)
    for membership in rows:
        save(
            membership,
            trouble_mails=membership.gets_trouble_mails and what != TROUBLE,
            daily_digest=membership.daily_digest and what != DIGEST,
        )


def _plan_digest(user: User) -> None:
    wanted = user.memberships.filter(daily_digest=True).exists()
    planned = User.objects.filter(pk=user.pk, next_digest_at__isnull=wanted)
    planned.update(next_digest_at=next_digest(timezone.now()) if wanted else None)

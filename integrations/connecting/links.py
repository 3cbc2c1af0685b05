"""Links that let a colleague connect from another device, where they are signed in at SnapInspect.

The address alone gives no access: whoever follows it signs in, and has to be an owner or a member of the customer it
was made for. It works once, for `ConnectLink.LIFETIME`, and is stored as a hash.
"""

import hashlib
import secrets

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import Customer, User
from integrations.models import Connection, ConnectLink

SECRET_BYTES = 32


def issue(*, customer: Customer, by: User, connection: Connection | None = None) -> str:
    """The secret part of a new link, not readable later; `connection`: the one to reconnect, if any."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    with transaction.atomic():
        customer.connect_links.create(secret_hash=_hash(secret), connection=connection, made_by=by)
        audit.record("connect_link.made", customer=customer, actor=by, subject=connection.code if connection else "")
    return secret


def find(customer: Customer, secret: str) -> ConnectLink | None:
    """This customer's link with this secret, valid or not."""
    return customer.connect_links.select_related("connection", "made_by").filter(secret_hash=_hash(secret)).first()


def invalid_reason(link: ConnectLink) -> str:
    """Why this link is invalid: "used", "expired", "withdrawn", or empty while it is valid."""
    mine = ConnectLink.objects.filter(pk=link.pk)
    if link.used_at is not None:
        return "used"
    if not mine.recent().exists():
        return "expired"
    return "" if mine.open().exists() else "withdrawn"


def redeem(link: ConnectLink, *, by: User) -> bool:
    """Uses the link up; True for one of two concurrent calls."""
    with transaction.atomic():
        if ConnectLink.objects.open().filter(pk=link.pk).update(used_at=Now(), used_by=by) != 1:
            link.refresh_from_db(fields=["used_at"])
            return False
        subject = link.connection.code if link.connection else ""
        audit.record("connect_link.used", customer=link.customer, actor=by, subject=subject)
    return True


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

"""Secrets of webhook addresses: a segment of the path is the only protection, since SnapInspect signs nothing.

The application's secrets are in the settings, several at once so that one can be replaced without a gap. A connection's
own address (personal access token customers send it to SnapInspect by mail) is stored as a hash, to be found by, and
encrypted, to be shown again. A replaced address stays valid for OLD_STAYS_VALID, since SnapInspect's support changes
addresses by hand, days later. Only the last replaced one does; a second replacement ends it at once.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from hmac import compare_digest
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations.models import Connection, WebhookAddress
from integrations.tokens import encryption
from integrations.tokens.encryption import CannotUnseal, KeyContext

OLD_STAYS_VALID = timedelta(days=14)
SECRET_BYTES = 32
LONGEST_SECRET = 200


REGISTRATION = """\
Hello,

we would like to register our application for SnapInspect Connect.

App name: {app_name}
Redirect URL: {redirect_uri}
Webhook URL: {webhook}
Icon: (attach one if you like; optional)

Please send us the client ID and the client secret.

Thank you.
"""


@dataclass(frozen=True, slots=True)
class Address:
    """The owner of an address. connection_id: None for the application's."""

    connection_id: int | None


def find(secret: str) -> Address | None:
    """The address with this secret, or None. Compares secrets in constant time."""
    if len(secret) > LONGEST_SECRET:
        return None
    given = _hash(secret)
    # Always all of them: the time does not tell which one it is.
    matches = [compare_digest(given, _hash(known)) for known in settings.SNAPINSPECT_WEBHOOK_SECRETS]
    if any(matches):
        return Address(connection_id=None)
    # Searched by the hash: the timing of the index tells nothing about the secret.
    valid = Q(valid_until=None) | Q(valid_until__gt=Now())
    row = WebhookAddress.objects.filter(valid, secret_hash=given).values_list("connection_id").first()
    return Address(row[0]) if row else None


def application_address() -> str:
    """The application's webhook address, with its newest secret. Whoever has it can post for every customer."""
    return _absolute(settings.SNAPINSPECT_WEBHOOK_SECRETS[0])


def registration_email() -> str:
    """The e-mail that registers this app with SnapInspect's support (vendor page, "Register an application")."""
    return REGISTRATION.format(
        app_name=settings.APP_NAME,
        redirect_uri=settings.SNAPINSPECT_REDIRECT_URI,
        webhook=application_address() if settings.SNAPINSPECT_WEBHOOK_SECRETS else "(none)",
    )


def address_of(connection: Connection) -> str:
    """The connection's own webhook address; empty if none was issued. Raises CannotUnseal."""
    row = WebhookAddress.objects.filter(connection=connection, valid_until=None).first()
    return _absolute(encryption.unseal(row.sealed_secret, _place(connection))) if row else ""


def issue(connection: Connection, *, by: User | None = None) -> str:
    """The connection's own webhook address, made now if there is none. Raises CannotUnseal."""
    return address_of(connection) or _put_in_use(connection, "webhook_address.issued", by)


def rotate(connection: Connection, *, by: User | None = None) -> str:
    """A new address for the connection. The one before stays valid for OLD_STAYS_VALID, older ones end now."""
    return _put_in_use(connection, "webhook_address.replaced", by)


def hand_over(connection: Connection, to: Connection) -> None:
    """Moves one connection's addresses to another, in the caller's transaction. They keep working.

    If the other has an address in use, these end after OLD_STAYS_VALID. One whose key is gone cannot be shown any more.
    """
    has_one = WebhookAddress.objects.filter(connection=to, valid_until=None).exists()
    for row in WebhookAddress.objects.filter(connection=connection):
        changes: dict[str, Any] = {"connection": to}
        try:
            sealed = encryption.seal(encryption.unseal(row.sealed_secret, _place(connection)), _place(to))
            changes |= {"sealed_secret": sealed.ciphertext, "key_id": sealed.key_id}
        except CannotUnseal:
            changes |= {"sealed_secret": b"", "key_id": ""}
        if has_one and row.valid_until is None:
            changes["valid_until"] = Now() + OLD_STAYS_VALID
        WebhookAddress.objects.filter(pk=row.pk).update(**changes)


def _put_in_use(connection: Connection, kind: str, by: User | None) -> str:
    secret = secrets.token_urlsafe(SECRET_BYTES)
    sealed = encryption.seal(secret, _place(connection))
    mine = WebhookAddress.objects.filter(connection=connection)
    with transaction.atomic():
        mine.exclude(valid_until=None).delete()
        mine.update(valid_until=Now() + OLD_STAYS_VALID)
        WebhookAddress.objects.create(
            connection=connection,
            secret_hash=_hash(secret),
            sealed_secret=sealed.ciphertext,
            key_id=sealed.key_id,
        )
        audit.record(kind, customer=connection.customer, actor=by, subject=connection.code)
    return _absolute(secret)


def _absolute(secret: str) -> str:
    # From the registered redirect URI, never from a request's Host header.
    return urljoin(settings.SNAPINSPECT_REDIRECT_URI, f"/webhooks/snapinspect/{secret}/")


def _hash(secret: str) -> str:
    # An address may contain anything, even lone surrogates.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _place(connection: Connection) -> KeyContext:
    return KeyContext(connection.customer_id, connection.pk, "webhook")

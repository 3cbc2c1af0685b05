"""Keys of the API: making, finding and revoking them. A key is shown once; only its SHA-256 is stored.

A hash without salt and rounds is enough: a key has 256 random bits.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from accounts.first_statement import first_statement
from accounts.models import Customer
from integrations.models import ApiKey, Scope

MINUTE = 60
PREFIX_LENGTH = 8
SECRET_BYTES = 32
# Secret scanners and `connectapp.redaction` know keys by their first characters.
PATTERN = re.compile(rf"cok_([a-z0-9]{{{PREFIX_LENGTH}}})_[A-Za-z0-9_-]{{43}}")


def issue(
    *,
    name: str,
    scopes: Iterable[str],
    by: audit.Actor,
    customer: Customer | None = None,
    expires_in: timedelta | None = None,
) -> tuple[ApiKey, str]:
    """A new key: its row, and the key itself, which is not readable later.

    customer: the only one that the key reaches; None for a key of the whole deployment. expires_in: from now; None for
    a key without an end. Raises ValueError for a scope that does not exist, or without any.
    """
    chosen = sorted({Scope(scope).value for scope in scopes})
    if not chosen:
        raise ValueError("A key needs a scope.")
    prefix = secrets.token_hex(PREFIX_LENGTH // 2)
    plain = f"cok_{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    with transaction.atomic():
        key = ApiKey.objects.create(
            prefix=prefix,
            secret_hash=_hash(plain),
            name=name,
            scopes=chosen,
            customer=customer,
            created_by=audit.person(by),
            expires_at=timezone.now() + expires_in if expires_in else None,
        )
        audit.record("api_key.made", customer=customer, actor=by, name=name, key=prefix, scopes=" ".join(chosen))
    return key, plain


def find(plain: str, *, to_call: str = "") -> ApiKey | None:
    """The valid key that this text is, one more request of which is counted; or None. The same work for every text.

    to_call: code of a connection that the key is to call, see `ApiKey.called`.
    """
    minute = int(time.time()) // MINUTE
    key = first_statement(lambda: ApiKey.objects.count_request(_hash(plain), minute, to_call=to_call))
    # No more than once a minute.
    if key is not None and key.requests == 1 and ApiKey.objects.note_first_use(key.pk):
        audit.record("api_key.first_used", customer=key.customer, actor=actor_name(key), name=key.name, key=key.prefix)
    return key


def revoke(key: ApiKey, *, by: audit.Actor) -> bool:
    """Ends a key at once; whether it was still in force."""
    with transaction.atomic():
        ended = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now()) == 1
        if ended:
            audit.record("api_key.revoked", customer=key.customer, actor=by, name=key.name, key=key.prefix)
    return ended


def actor_name(key: ApiKey) -> str:
    """How the audit trail names who used this key."""
    return f"API key {key.prefix} ({key.name})"


def _hash(plain: str) -> str:
    return hashlib.sha256(plain.encode(errors="replace")).hexdigest()

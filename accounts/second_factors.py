"""The secrets of second factors, sealed at rest: a stolen backup must not let its reader make anybody's codes.

Those of authenticator apps and recovery codes are encrypted by a key derived (HKDF-SHA256, RFC 5869) from the newest of
TOKEN_ENCRYPTION_KEYS. Passkeys are public keys.
"""

import base64
from collections import Counter
from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import transaction

_PREFIX = "sealed"
_SECRETS = ("secret", "seed", "migrated_codes")  # members of Authenticator.data


class MFAAdapter(DefaultMFAAdapter):
    """https://docs.allauth.org/en/latest/mfa/adapter.html"""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "add_email_blocked": "Turn off the second factor before you add an address.",
        "cannot_delete_authenticator": "You cannot turn off this second factor.",
        "cannot_generate_recovery_codes": "Set up a second factor first.",
        "incorrect_code": "The code is wrong.",
        "unverified_email": "Confirm your email address first. This page sends you the email for it.",
    }

    def encrypt(self, text: str) -> str:
        newest = settings.TOKEN_ENCRYPTION_KEYS[0]
        return f"{_PREFIX}:{newest.id}:{_cipher(newest).encrypt(text.encode()).decode()}"

    def decrypt(self, encrypted_text: str) -> str:
        """The secret; as it is when it was stored before secrets were sealed. Raises InvalidToken without its key."""
        prefix, _, rest = encrypted_text.partition(":")
        if prefix != _PREFIX:
            return encrypted_text
        key_id, _, ciphertext = rest.partition(":")
        for key in settings.TOKEN_ENCRYPTION_KEYS:
            if key.id == key_id:
                return _cipher(key).decrypt(ciphertext.encode()).decode()
        raise InvalidToken


def reseal() -> tuple[int, Counter[str]]:
    """Seals every secret with the newest key; returns how many rows were changed, and how many are left by key id."""
    changed, left = 0, Counter[str]()
    for pk in Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN).values_list("pk", flat=True):
        with transaction.atomic():  # a recovery code may be used meanwhile
            row = Authenticator.objects.select_for_update().filter(pk=pk).first()
            if row is None or not _is_outdated(row.data):
                continue
            try:
                row.data = {name: _resealed(value) if name in _SECRETS else value for name, value in row.data.items()}
            except InvalidToken:
                left[_key_id(row.data)] += 1
            else:
                row.save(update_fields=["data"])
                changed += 1
    return changed, left


def _resealed(value: Any) -> Any:
    if isinstance(value, list):
        return [_resealed(item) for item in value]
    adapter = MFAAdapter()
    return adapter.encrypt(adapter.decrypt(value)) if isinstance(value, str) else value


def _is_outdated(data: dict[str, Any]) -> bool:
    current = f"{_PREFIX}:{settings.TOKEN_ENCRYPTION_KEYS[0].id}:"
    return any(not text.startswith(current) for text in _texts(data))


def _key_id(data: dict[str, Any]) -> str:
    return next((text.split(":")[1] for text in _texts(data) if text.startswith(f"{_PREFIX}:")), "")


def _texts(data: dict[str, Any]) -> list[str]:
    values = [data[name] for name in _SECRETS if name in data]
    return [text for value in values for text in (value if isinstance(value, list) else [value]) if text]


def _cipher(key: Any) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"connect/v1/second-factor").derive(key.raw)
    return Fernet(base64.urlsafe_b64encode(derived))

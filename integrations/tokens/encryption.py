"""Seals (encrypts) tokens and other secrets, with a key of its own for each customer, connection and purpose.

HKDF-SHA256 (RFC 5869) derives one Fernet key per context from each master key. A ciphertext that is moved to another
row, customer or purpose does not open there, although Fernet itself binds no context. Fernet does not hide when a value
was sealed, nor roughly how long it is.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Literal

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

KEY_BYTES = 32
_TO_STANDARD = str.maketrans("-_", "+/")
Purpose = Literal["access", "refresh", "webhook"]
EndpointPurpose = Literal["signing", "headers"]


class CannotUnseal(Exception):
    """None of the keys opens this value: the key is lost or wrong, or the value was altered or moved."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    raw: bytes = field(repr=False)
    # Identifies the key without revealing it; stored beside every value that it sealed.
    id: str


@dataclass(frozen=True, slots=True)
class KeyContext:
    """The connection and purpose that a value is sealed for; its key is derived from them."""

    customer: int
    connection: int
    purpose: Purpose

    def info(self) -> bytes:
        return f"connect/v1/{self.customer}/{self.connection}/{self.purpose}".encode()


@dataclass(frozen=True, slots=True)
class GuestKeyContext:
    """The same for a token pair without a connection, by its row's random code."""

    code: str
    purpose: Purpose

    def info(self) -> bytes:
        # No customer's id is "guest": no value opens in a context of the other kind.
        return f"connect/v1/guest/{self.code}/{self.purpose}".encode()


@dataclass(frozen=True, slots=True)
class EndpointKeyContext:
    """The same for what a webhook endpoint needs to be sent to, by its row's random code."""

    code: str
    purpose: EndpointPurpose

    def info(self) -> bytes:
        return f"connect/v1/endpoint/{self.code}/{self.purpose}".encode()


Context = KeyContext | GuestKeyContext | EndpointKeyContext


@dataclass(frozen=True, slots=True)
class Sealed:
    ciphertext: bytes
    key_id: str


def parse_keys(value: str, *, forbidden: str = "") -> tuple[MasterKey, ...]:
    """Returns the keys of a comma-separated list of base64 (standard or URL-safe), newest first.

    Raises ValueError, without the value in it, for an empty list, a key that is not 32 bytes of base64, one that is
    listed twice, or one that equals `forbidden` (Django's SECRET_KEY: losing or changing one must not touch the other).
    """
    keys: list[MasterKey] = []
    for number, text in enumerate((part.strip() for part in value.split(",")), start=1):
        # b64decode drops characters it does not know, so a URL-safe key would decode to something else.
        if not re.fullmatch(r"[A-Za-z0-9+/_-]+={0,2}", text):
            raise ValueError(f"key {number} is not base64.")
        try:
            raw = base64.b64decode(text.translate(_TO_STANDARD) + "=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            raise ValueError(f"key {number} is not base64.") from None
        if len(raw) != KEY_BYTES:
            raise ValueError(f"key {number} has {len(raw)} bytes instead of {KEY_BYTES}.")
        if forbidden and (raw == forbidden.encode() or _same_base64(text, forbidden)):
            raise ValueError(f"key {number} equals SECRET_KEY; it needs to be a key of its own.")
        key = MasterKey(raw, hashlib.sha256(b"key id" + raw).hexdigest()[:8])
        if key in keys:
            raise ValueError(f"key {number} is listed twice.")
        keys.append(key)
    return tuple(keys)


def seal(secret: str, context: Context) -> Sealed:
    """Seals the secret with the newest key, for this context only."""
    newest = _keys()[0]
    return Sealed(_cipher(newest, context).encrypt(secret.encode()), newest.id)


def unseal(ciphertext: bytes | memoryview, context: Context) -> str:
    """Returns the secret that was sealed in this context. Raises CannotUnseal."""
    try:
        return _ciphers(context).decrypt(_exact(ciphertext)).decode()
    except (InvalidToken, UnicodeDecodeError):
        raise CannotUnseal from None


def reseal(ciphertext: bytes | memoryview, context: Context) -> Sealed:
    """Returns the same secret, sealed with the newest key. Raises CannotUnseal."""
    try:
        return Sealed(_ciphers(context).rotate(_exact(ciphertext)), _keys()[0].id)
    except InvalidToken:
        raise CannotUnseal from None


def key_ids() -> tuple[str, ...]:
    """Returns the ids of the configured keys, newest first."""
    return tuple(key.id for key in _keys())


def _exact(ciphertext: bytes | memoryview) -> bytes:
    """Returns the ciphertext if it is canonical base64: Fernet also opens values whose unused bits were altered."""
    stored = bytes(ciphertext)
    try:
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(stored)) == stored:
            return stored
    except binascii.Error:
        pass
    raise CannotUnseal


def _same_base64(one: str, other: str) -> bool:
    return one.translate(_TO_STANDARD).rstrip("=") == other.translate(_TO_STANDARD).rstrip("=")


def _keys() -> tuple[MasterKey, ...]:
    keys: tuple[MasterKey, ...] = settings.TOKEN_ENCRYPTION_KEYS
    return keys


def _ciphers(context: Context) -> MultiFernet:
    return MultiFernet([_cipher(key, context) for key in _keys()])


def _cipher(key: MasterKey, context: Context) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=context.info()).derive(key.raw)
    return Fernet(base64.urlsafe_b64encode(derived))

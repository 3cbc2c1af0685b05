"""How a token is sealed: a key of its own for each customer, connection and purpose.

Each master key yields, by HKDF-SHA256 (RFC 5869), one Fernet key per place a value may stand in. A ciphertext that is
moved to another row, customer or purpose does not open there, although Fernet itself binds no context. Sealing and
unsealing are explicit calls, never a field that decrypts by being looked at. Fernet does not hide when a value was
sealed, nor roughly how long it is.
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


class CannotUnseal(Exception):
    """None of the keys opens this value: the key is lost or wrong, or the value was altered or moved."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    raw: bytes = field(repr=False)
    # Names the key without telling anything about it: stands beside every value it sealed.
    id: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value stands, and what for: a part of the key that opens it."""

    customer: int
    connection: int
    purpose: Purpose

    def info(self) -> bytes:
        return f"connect/v1/{self.customer}/{self.connection}/{self.purpose}".encode()


@dataclass(frozen=True, slots=True)
class GuestPlace:
    """Where a pair stands that belongs to no connection (yet): an introduction, by its random code."""

    introduction: str
    purpose: Purpose

    def info(self) -> bytes:
        # No customer is called "guest": what was sealed here opens at no Place, and the other way round.
        return f"connect/v1/guest/{self.introduction}/{self.purpose}".encode()


@dataclass(frozen=True, slots=True)
class Sealed:
    ciphertext: bytes
    key_id: str


def parse_keys(value: str, *, forbidden: str = "") -> tuple[MasterKey, ...]:
    """The keys of a comma-separated list of base64 (standard or URL-safe), newest first.

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


def seal(secret: str, place: Place | GuestPlace) -> Sealed:
    """The secret under the newest key, openable at this place only."""
    newest = _keys()[0]
    return Sealed(_box(newest, place).encrypt(secret.encode()), newest.id)


def unseal(ciphertext: bytes | memoryview, place: Place | GuestPlace) -> str:
    """The secret that was sealed at this place. Raises CannotUnseal."""
    try:
        return _boxes(place).decrypt(_exact(ciphertext)).decode()
    except (InvalidToken, UnicodeDecodeError):
        raise CannotUnseal from None


def reseal(ciphertext: bytes | memoryview, place: Place) -> Sealed:
    """The same secret under the newest key, read by nobody on the way. Raises CannotUnseal."""
    try:
        return Sealed(_boxes(place).rotate(_exact(ciphertext)), _keys()[0].id)
    except InvalidToken:
        raise CannotUnseal from None


def key_ids() -> tuple[str, ...]:
    """The names of the configured keys, newest first."""
    return tuple(key.id for key in _keys())


def _exact(ciphertext: bytes | memoryview) -> bytes:
    """The ciphertext, as long as it is spelled the one right way.

    Fernet reads base64 forgivingly: it opens values that were altered in ways which base64 does not notice.
    """
    written = bytes(ciphertext)
    try:
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(written)) == written:
            return written
    except binascii.Error:
        pass
    raise CannotUnseal


def _same_base64(one: str, other: str) -> bool:
    return one.translate(_TO_STANDARD).rstrip("=") == other.translate(_TO_STANDARD).rstrip("=")


def _keys() -> tuple[MasterKey, ...]:
    keys: tuple[MasterKey, ...] = settings.TOKEN_ENCRYPTION_KEYS
    return keys


def _boxes(place: Place | GuestPlace) -> MultiFernet:
    return MultiFernet([_box(key, place) for key in _keys()])


def _box(key: MasterKey, place: Place | GuestPlace) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=place.info()).derive(key.raw)
    return Fernet(base64.urlsafe_b64encode(derived))

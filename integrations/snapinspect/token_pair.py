"""Two tokens that repr, str, pickle and JSON do not show."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import NoReturn

# Characters. Forms accept no longer ones, and an exchange reserves disk space by this.
LONGEST_TOKEN = 6000
FINGERPRINT_LENGTH = 6
# What some languages write in place of a string that was never set.
NO_TOKEN = frozenset({"null", "undefined", "none", "nil"})
# A bearer token travels in a header: visible ASCII without space (RFC 6750 section 2.1 allows even less).
_TOKEN = re.compile(r"[\x21-\x7e]+")


def is_token(value: object) -> bool:
    """Returns whether `value` could be a token: a non-empty string of visible ASCII, and no word for nothing."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None and value.lower() not in NO_TOKEN


def fingerprint(token: str) -> str:
    """Returns hexadecimal digits that tell tokens apart without revealing them."""
    return sha256(token.encode()).hexdigest()[:FINGERPRINT_LENGTH]


class NotSerializable:
    """Base of classes that hold secrets: they cannot be pickled into task arguments, caches or sessions."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds secrets and cannot be serialised.")


@dataclass(frozen=True, slots=True, repr=False)
class TokenPair(NotSerializable):
    """An access token and the refresh token that came with it; ValueError when either cannot be a token."""

    access: str
    refresh: str

    def __post_init__(self) -> None:
        if not (is_token(self.access) and is_token(self.refresh)):
            raise ValueError("A token is a non-empty string of visible ASCII characters.")

    def __repr__(self) -> str:
        return f"<TokenPair {fingerprint(self.access)}>"

"""What is stored of a token pair: the columns of its row, and its entry in the spool.

Private to this package: what these functions return may be plain text.
"""

from typing import Any

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from integrations.metrics import counters
from integrations.models import Connection, GuestTokenPair, TokenPair
from integrations.snapinspect import token_pair
from integrations.snapinspect.client import Client
from integrations.tokens import encryption, spool
from integrations.tokens.encryption import GuestKeyContext, KeyContext, Purpose

Columns = dict[str, Any]
# What a pair is sealed for: its connection, or the row of a pair that has none.
Owner = Connection | GuestTokenPair

# What else changes in the row with a new pair from an exchange, which has not been used yet.
AFTER_EXCHANGE: Columns = {
    "version": F("version") + 1,
    "exchanged_at": Now(),
    "exchange_sent_at": None,
    "exchange_sends": 0,
    "proved_at": None,
    "error_kind": "",
    "room": b"",
}


def columns(plain: token_pair.TokenPair, owner: Owner) -> Columns:
    """Returns the columns of this pair, sealed for this owner."""
    return access_columns(plain.access, owner) | {"sealed_refresh": _seal(plain.refresh, owner, "refresh")}


def access_columns(token: str, owner: Owner) -> Columns:
    """Returns the columns of an access token without a refresh token."""
    access = encryption.seal(token, _context(owner, "access"))
    return {"sealed_access": access.ciphertext, "key_id": access.key_id, "fingerprint": token_pair.fingerprint(token)}


def columns_for(connection: Connection, row: TokenPair | GuestTokenPair) -> Columns:
    """Returns the columns of a stored pair, sealed for another connection. Raises CannotUnseal."""
    sealed = access_columns(encryption.unseal(row.sealed_access, _context(_owner(row), "access")), connection)
    if row.sealed_refresh:
        sealed["sealed_refresh"] = _seal(refresh_token(row), connection, "refresh")
    return sealed


def refresh_token(row: TokenPair | GuestTokenPair) -> str:
    """Returns the refresh token in plain text, for an exchange. Raises CannotUnseal."""
    return encryption.unseal(row.sealed_refresh, _context(_owner(row), "refresh"))


def client_of(row: TokenPair | GuestTokenPair) -> Client:
    """Returns an API client with this pair's access token. Raises CannotUnseal."""
    return client(row.sealed_access, row.sealed_refresh, _owner(row))


def client(sealed_access: bytes | memoryview, sealed_refresh: bytes | memoryview, owner: Owner) -> Client:
    """Returns an API client with this access token. Raises CannotUnseal."""
    try:
        refresh = encryption.unseal(sealed_refresh, _context(owner, "refresh"))
    except encryption.CannotUnseal:
        refresh = ""  # none, or damaged: calls do not need it
    return client_of_token(encryption.unseal(sealed_access, _context(owner, "access")), refresh_token=refresh)


def client_of_token(token: str, *, refresh_token: str = "") -> Client:
    """Returns an API client with this access token. The refresh token is only removed from answers that repeat it."""
    return Client(
        settings.SNAPINSPECT_API_URL,
        token=token,
        refresh_token=refresh_token,
        client_id=settings.SNAPINSPECT_CLIENT_ID,
        allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
        on_answer=counters.count_api_call,
    )


def to_spool(row: TokenPair, sealed: Columns) -> spool.Entry:
    """Returns the spool entry of the pair that an exchange of this row has returned."""
    return spool.Entry(
        pair=row.pk,
        version=row.version,
        connection=row.connection.code,
        disconnects=row.connection.disconnects,
        sealed_access=sealed["sealed_access"].decode(),
        sealed_refresh=sealed["sealed_refresh"].decode(),
        key_id=sealed["key_id"],
        fingerprint=sealed["fingerprint"],
    )


def from_spool(entry: spool.Entry) -> Columns:
    """Returns the columns of a spooled pair."""
    return {
        "sealed_access": entry.sealed_access.encode(),
        "sealed_refresh": entry.sealed_refresh.encode(),
        "key_id": entry.key_id,
        "fingerprint": entry.fingerprint,
    }


def _seal(token: str, owner: Owner, purpose: Purpose) -> bytes:
    return encryption.seal(token, _context(owner, purpose)).ciphertext


def _owner(row: TokenPair | GuestTokenPair) -> Owner:
    return row if isinstance(row, GuestTokenPair) else row.connection


def _context(owner: Owner, purpose: Purpose) -> KeyContext | GuestKeyContext:
    if isinstance(owner, GuestTokenPair):
        return GuestKeyContext(owner.code, purpose)
    return KeyContext(owner.customer_id, owner.pk, purpose)

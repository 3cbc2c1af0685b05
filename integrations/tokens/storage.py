"""What of a token pair is stored, and how: the columns of its row, and the entry that waits on disk for the database.

Only custody (`leasing`, `tokens`) comes in here: what this room opens is readable.
"""

from typing import Any

from django.conf import settings

from integrations.metrics import counters
from integrations.models import Connection, GuestTokenPair, TokenPair
from integrations.snapinspect import token_pair
from integrations.snapinspect.client import Client
from integrations.tokens import encryption, spool
from integrations.tokens.encryption import GuestPlace, Place, Purpose

Columns = dict[str, Any]
# What a pair is sealed for: a connection, or the introduction that it was brought for.
Home = Connection | GuestTokenPair


def columns(plain: token_pair.TokenPair, home: Home) -> Columns:
    """What is written into the row of this pair, good for this home only."""
    return access_columns(plain.access, home) | {"sealed_refresh": _seal(plain.refresh, home, "refresh")}


def access_columns(token: str, home: Home) -> Columns:
    """The same for a token that has no refresh token, whose column is left to the caller."""
    access = encryption.seal(token, _place(home, "access"))
    return {"sealed_access": access.ciphertext, "key_id": access.key_id, "fingerprint": token_pair.fingerprint(token)}


def columns_elsewhere(row: TokenPair | GuestTokenPair, connection: Connection) -> Columns:
    """The columns of a stored pair, sealed anew for another connection. Raises CannotUnseal."""
    sealed = access_columns(encryption.unseal(row.sealed_access, _place(_home(row), "access")), connection)
    if row.sealed_refresh:
        sealed["sealed_refresh"] = _seal(refresh_token(row), connection, "refresh")
    return sealed


def refresh_token(row: TokenPair | GuestTokenPair) -> str:
    """For the one request that it is for. Raises CannotUnseal."""
    return encryption.unseal(row.sealed_refresh, _place(_home(row), "refresh"))


def prove_sealing(connection: Connection) -> None:
    """Raises CannotUnseal when our keys could not seal what an exchange is about to bring."""
    _seal("nothing", connection, "refresh")


def client(row: TokenPair | GuestTokenPair, home: Home) -> Client:
    """An API client that calls with this pair's access token. Raises CannotUnseal."""
    return client_of(row.sealed_access, row.sealed_refresh, home)


def client_of(sealed_access: bytes | memoryview, sealed_refresh: bytes | memoryview, home: Home) -> Client:
    """The client of `client`, from the sealed tokens alone."""
    try:
        refresh = encryption.unseal(sealed_refresh, _place(home, "refresh"))
    except encryption.CannotUnseal:
        refresh = ""  # none, or spoilt: calls do without
    return Client(
        settings.SNAPINSPECT_API_URL,
        token=encryption.unseal(sealed_access, _place(home, "access")),
        refresh_token=refresh,
        client_id=settings.SNAPINSPECT_CLIENT_ID,
        allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
        heard=counters.api_answered,
    )


def to_spool(row: TokenPair, sealed: Columns) -> spool.Entry:
    """The pair that an exchange of this row has brought, as it waits on disk."""
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
    return {
        "sealed_access": entry.sealed_access.encode(),
        "sealed_refresh": entry.sealed_refresh.encode(),
        "key_id": entry.key_id,
        "fingerprint": entry.fingerprint,
    }


def _seal(token: str, home: Home, purpose: Purpose) -> bytes:
    return encryption.seal(token, _place(home, purpose)).ciphertext


def _home(row: TokenPair | GuestTokenPair) -> Home:
    return row if isinstance(row, GuestTokenPair) else row.connection


def _place(home: Home, purpose: Purpose) -> Place | GuestPlace:
    if isinstance(home, GuestTokenPair):
        return GuestPlace(home.code, purpose)
    return Place(home.customer_id, home.pk, purpose)

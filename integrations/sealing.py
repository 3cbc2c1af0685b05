"""What of a token pair is stored, and how: the columns of its row, and the entry that waits on disk for the database.

Only custody (`leasing`, `tokens`) comes in here: what this room opens is readable.
"""

from typing import Any

from django.conf import settings

from integrations import encryption, spool
from integrations.encryption import Place, Purpose
from integrations.models import Connection, TokenPair
from integrations.snapinspect import pair
from integrations.snapinspect.client import Client

Columns = dict[str, Any]


def columns(plain: pair.TokenPair, connection: Connection) -> Columns:
    """What is written into the row of this pair, good for this connection only."""
    return access_columns(plain.access, connection) | {"sealed_refresh": _seal(plain.refresh, connection, "refresh")}


def access_columns(token: str, connection: Connection) -> Columns:
    """The same for a token that has no refresh token, whose column is left to the caller."""
    access = encryption.seal(token, _place(connection, "access"))
    return {"sealed_access": access.ciphertext, "key_id": access.key_id, "fingerprint": pair.fingerprint(token)}


def columns_elsewhere(row: TokenPair, connection: Connection) -> Columns:
    """The columns of a stored pair, sealed anew for another connection. Raises CannotUnseal."""
    sealed = access_columns(encryption.unseal(row.sealed_access, _place(row.connection, "access")), connection)
    if row.sealed_refresh:
        sealed["sealed_refresh"] = _seal(refresh_token(row), connection, "refresh")
    return sealed


def refresh_token(row: TokenPair) -> str:
    """For the one request that it is for. Raises CannotUnseal."""
    return encryption.unseal(row.sealed_refresh, _place(row.connection, "refresh"))


def prove_sealing(connection: Connection) -> None:
    """Raises CannotUnseal when our keys could not seal what an exchange is about to bring."""
    _seal("nothing", connection, "refresh")


def client(row: TokenPair, connection: Connection) -> Client:
    """An API client that calls with this pair's access token. Raises CannotUnseal."""
    try:
        refresh = encryption.unseal(row.sealed_refresh, _place(connection, "refresh"))
    except encryption.CannotUnseal:
        refresh = ""  # none, or spoilt: calls do without
    return Client(
        settings.SNAPINSPECT_API_URL,
        token=encryption.unseal(row.sealed_access, _place(connection, "access")),
        refresh_token=refresh,
        client_id=settings.SNAPINSPECT_CLIENT_ID,
        allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
    )


def to_spool(row: TokenPair, sealed: Columns) -> spool.Entry:
    """The pair that an exchange of this row has brought, as it waits on disk."""
    return spool.Entry(
        pair=row.pk,
        version=row.version,
        connection=row.connection.code,
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


def _seal(token: str, connection: Connection, purpose: Purpose) -> bytes:
    return encryption.seal(token, _place(connection, purpose)).ciphertext


def _place(connection: Connection, purpose: Purpose) -> Place:
    return Place(connection.customer_id, connection.pk, purpose)

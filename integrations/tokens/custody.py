"""Custody of tokens: they come in sealed, are lent out as clients, and are erased here.

The rooms of custody are this one, `leasing` (a pair is changed only under its lease and at its expected version) and
`sealing`. Nobody else reads a stored token or writes a token column.
"""

import logging
from datetime import timedelta

from django.db import connection as database
from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from integrations.models import ConnectAttempt, Connection, TokenPair
from integrations.snapinspect import token_pair
from integrations.snapinspect.client import Client
from integrations.tokens import lease, spool, storage

logger = logging.getLogger(__name__)

# However long the last call of a disconnect takes, the tokens are gone after this.
ERASED_AFTER_DISCONNECT = timedelta(seconds=10)

InUse = tuple[int, int]  # id and version of a pair


class NothingKept(Exception):
    """This connection has no tokens in use."""


def receive(attempt: ConnectAttempt, received: token_pair.TokenPair) -> Connection:
    """The connection that will be made from this pair, with the pair sealed as its candidate.

    Runs in the caller's transaction, with the redeeming of the state. An older candidate of the same connection gives
    way: the newest answer of SnapInspect counts.
    """
    connection = attempt.connection
    if connection is not None:
        lease.hold_still(connection)  # two tabs that come back replace its candidate one after the other
    else:
        connection = Connection.objects.create(customer=attempt.for_customer, connected_by=attempt.user)
    TokenPair.objects.candidates().filter(connection=connection).delete()
    TokenPair.objects.create(connection=connection, brought_by=attempt.user, **storage.columns(received, connection))
    return connection


def receive_exchanged(connection: Connection, sealed: storage.Columns, *, by: User) -> None:
    """Makes a pair that was exchanged already this connection's candidate, in the caller's transaction."""
    lease.hold_still(connection)
    TokenPair.objects.candidates().filter(connection=connection).delete()
    TokenPair.objects.create(connection=connection, brought_by=by, exchanged_at=Now(), **sealed)


def receive_personal(connection: Connection, token: str, *, by: User) -> None:
    """Seals a personal access token as the connection's candidate, in the caller's transaction."""
    lease.hold_still(connection)
    TokenPair.objects.candidates().filter(connection=connection).delete()
    TokenPair.objects.create(
        connection=connection, brought_by=by, sealed_refresh=b"", **storage.access_columns(token, connection)
    )


def lend(connection: Connection) -> tuple[Client, InUse]:
    """An API client that calls with this connection's access token, and which pair that token is of.

    Raises NothingKept without tokens, CannotUnseal when our keys do not open them.
    """
    # Every call of the API begins with this row: by the ORM, reading it takes longer than all else on our side.
    table = TokenPair._meta.db_table
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT id, version, sealed_access, sealed_refresh FROM {table} WHERE connection_id = %s AND role = %s",  # noqa: S608
            [connection.pk, TokenPair.Role.CURRENT.value],
        )
        row = cursor.fetchone()
    if row is None:
        raise NothingKept
    pk, version, sealed_access, sealed_refresh = row
    return storage.client_of(sealed_access, sealed_refresh, connection), (pk, version)


def client_for(connection: Connection) -> Client:
    """The client of `lend`, for callers that do not care which pair it is."""
    return lend(connection)[0]


def in_use(connection: Connection) -> InUse | None:
    """Which pair is in use: compare before and after a call to see whether an answer is about it."""
    return TokenPair.objects.current().filter(connection=connection).values_list("pk", "version").first()


def note_proof(pair_in_use: InUse) -> None:
    """Notes that this pair has answered, unless that is known."""
    pk, version = pair_in_use
    TokenPair.objects.filter(pk=pk, version=version, proved_at=None).update(proved_at=Now())


def condemn(connection: Connection) -> None:
    """Has every token of this connection erased soon, whatever becomes of the process that is about to do so."""
    TokenPair.objects.filter(connection=connection).update(erase_after=Now() + ERASED_AFTER_DISCONNECT)


def forget(connection: Connection) -> None:
    """Erases every token that is kept for this connection, from the database's files and this host's disk too."""
    TokenPair.objects.filter(connection=connection).delete()
    spool.forget(connection.code)
    transaction.on_commit(scrub)


def erase(row: TokenPair) -> None:
    """Erases this one pair, from the database's files too."""
    TokenPair.objects.filter(pk=row.pk).delete()
    transaction.on_commit(scrub)


def scrub() -> None:
    """Clears what was erased out of the database's files."""
    if database.vendor == "sqlite":
        with database.cursor() as cursor:
            # secure_delete has overwritten the pages; the write-ahead log would keep the old ones.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def take_home() -> int:
    """Commits the pairs that were spooled and never reached the database; returns how many it has dealt with.

    A pair whose row is still at the version it replaces goes there. One whose row was changed meanwhile is kept aside
    as a candidate, to be proven, unless its connection was disconnected or connected anew since: see
    `leasing.keep_aside`. Runs on every host that exchanges, for its own disk.
    """
    taken = 0
    for slot, entry in spool.found():
        connection = Connection.objects.filter(code=entry.connection).first()
        if connection is None:  # deleted since, or of another database that was or is served from this folder
            if slot.is_abandoned:
                logger.warning("A pair for connection %s, which is not known, was erased from disk.", entry.connection)
                slot.free()
            continue
        row = TokenPair.objects.filter(pk=entry.pair, connection=connection)
        if row.filter(fingerprint=entry.fingerprint).exists():
            slot.free()  # it was committed; only the tidying up was cut short
            continue
        if row.filter(version=entry.version).exclude(pk__in=TokenPair.objects.unleased()).exists():
            continue  # whoever sent it may still be about to commit
        at_its_version = row.unleased().filter(version=entry.version)
        home = (
            entry.disconnects == connection.disconnects
            and at_its_version.update(**storage.from_spool(entry), **lease.AFTER_EXCHANGE) == 1
        )
        if not home and not lease.keep_aside(entry):
            continue  # a question to a person is in its place; look again when it is answered
        connection.ask_soon()
        slot.free()
        taken += 1
    spool.tidy()
    return taken

"""Stores the token pairs of connections, opens them as API clients, and erases them."""

from datetime import timedelta
from typing import Any, NamedTuple

from django.db import connection as database
from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from integrations.models import ConnectAttempt, Connection, SealedPair, State, TokenPair
from integrations.models.plain_rows import now
from integrations.snapinspect import token_pair
from integrations.snapinspect.client import Client
from integrations.tokens import lease, spool, storage
from integrations.tokens.lease import PairVersion

# A disconnect ends the tokens at SnapInspect first. However long that takes, they are erased after this.
ERASED_AFTER_DISCONNECT = timedelta(seconds=10)


class NoTokens(Exception):
    """This connection has no current pair."""


def receive(attempt: ConnectAttempt, received: token_pair.TokenPair) -> Connection:
    """Returns the connection of this attempt, a new one if it names none, with the received pair as its candidate.

    Runs in the caller's transaction, together with the redemption of the state.
    """
    ConnectAttempt.objects.filter(pk=attempt.pk).update(fingerprint=token_pair.fingerprint(received.access))
    if attempt.connection is None:
        connection = Connection.objects.create(customer=attempt.for_customer, connected_by=attempt.user)
        TokenPair.objects.create(
            connection=connection, brought_by=attempt.user, **storage.columns(received, connection)
        )
        return connection
    _set_candidate(attempt.connection, by=attempt.user, **storage.columns(received, attempt.connection))
    return attempt.connection


def receive_exchanged(connection: Connection, sealed: storage.Columns, *, by: User) -> None:
    """Makes a pair that was already exchanged this connection's candidate, in the caller's transaction."""
    _set_candidate(connection, by=by, exchanged_at=Now(), **sealed)


def receive_personal(connection: Connection, token: str, *, by: User, profile: dict[str, str] | None = None) -> int:
    """Makes a personal access token this connection's candidate, in the caller's transaction; returns the pair's ID.

    profile: what `/user` has answered to it, as `TokenPair.profile` has it; None if it is not proved yet.
    """
    proved: dict[str, Any] = {} if profile is None else {"proved_at": Now(), "profile": profile}
    sealed = storage.access_columns(token, connection)
    return _set_candidate(connection, by=by, sealed_refresh=b"", **sealed, **proved)


def client_of_token(token: str) -> Client:
    """Returns an API client with a token that is stored nowhere."""
    return storage.client_of_token(token)


def client_and_pair(connection: Connection, pair: SealedPair | None = None) -> tuple[Client, SealedPair]:
    """Returns an API client with this connection's access token, and the pair that the token belongs to.

    pair: as it was read just now; None to read it. Raises NoTokens, and CannotUnseal when our keys do not open it.
    """
    pair = pair or _sealed_pair(connection)
    return storage.client(pair.sealed_access, pair.sealed_refresh, connection), pair


def _sealed_pair(connection: Connection) -> SealedPair:
    # SQL: every API call reads this row first, and through the ORM that takes longer than all else on our side.
    columns, table = ", ".join(SealedPair._fields), TokenPair._meta.db_table
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM {table} WHERE connection_id = %s AND role = %s",  # noqa: S608
            [connection.pk, TokenPair.Role.CURRENT.value],
        )
        row = cursor.fetchone()
    if row is None:
        raise NoTokens
    return SealedPair(*row)


def client_for(connection: Connection) -> Client:
    """Returns the client of `client_and_pair` alone."""
    return client_and_pair(connection)[0]


def current_pair(connection: Connection) -> PairVersion | None:
    """Returns the current pair: compare it before and after a call to see whether the answer is still about it."""
    return TokenPair.objects.current().filter(connection=connection).values_list("pk", "version").first()


class PairStatus(NamedTuple):
    """What callers look at again and again while one of them replaces the current pair."""

    pair: PairVersion
    is_leased: bool
    needs_person: bool


def pair_status(connection: Connection) -> PairStatus | None:
    """Returns the status of the current pair by one statement; None without a current pair."""
    # SQL: of many callers that wait, each looks some ten times a second.
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT pair.id, pair.version, COALESCE(pair.lease_until >= {now()}, FALSE), connection.state"  # noqa: S608
            f" FROM {TokenPair._meta.db_table} AS pair JOIN {Connection._meta.db_table} AS connection"
            " ON connection.id = pair.connection_id WHERE pair.connection_id = %s AND pair.role = %s",
            [connection.pk, TokenPair.Role.CURRENT.value],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    pk, version, is_leased, state = row
    return PairStatus((pk, version), is_leased=bool(is_leased), needs_person=state == State.NEEDS_RECONNECT)


def mark_proved(pair: PairVersion) -> None:
    """Stores that SnapInspect has accepted this pair, unless that is stored already."""
    pk, version = pair
    TokenPair.objects.filter(pk=pk, version=version, proved_at=None).update(proved_at=Now())


def schedule_erasure(connection: Connection) -> None:
    """Has the sweep erase every pair of this connection soon, in case this process dies before it does so itself."""
    TokenPair.objects.filter(connection=connection).update(erase_after=Now() + ERASED_AFTER_DISCONNECT)


def erase_all(connection: Connection) -> None:
    """Erases every pair of this connection, from the database's files and this host's spool too."""
    TokenPair.objects.filter(connection=connection).delete()
    spool.delete_for(connection.code)
    transaction.on_commit(scrub_files)


def erase_pair(row: TokenPair) -> None:
    """Erases this pair, from the database's files too."""
    TokenPair.objects.filter(pk=row.pk).delete()
    transaction.on_commit(scrub_files)


def scrub_files() -> None:
    """Removes deleted values from the database's files."""
    if database.vendor == "sqlite":
        with database.cursor() as cursor:
            # secure_delete has overwritten the pages; the write-ahead log would keep the old ones.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _set_candidate(connection: Connection, *, by: User | None, **columns: Any) -> int:
    """Replaces the connection's candidate: the newest answer of SnapInspect counts."""
    lease.lock_connection(connection)  # two callbacks at once replace it one after the other
    TokenPair.objects.candidates().filter(connection=connection).delete()
    pk: int = TokenPair.objects.create(connection=connection, brought_by=by, **columns).pk
    return pk

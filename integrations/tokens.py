"""Custody of tokens: the only room where a stored token is readable, and the only one that writes token columns.

Rules kept here. A pair is changed only under its lease and at its expected version (`Held`). The lease is claimed by
one conditional UPDATE on the database's clock, and every write counts the row it changed: a holder that was frozen past
its lease finds 0 rows and stops. No transaction is open while SnapInspect is called. An exchange is journalled before
it is sent, and whatever it answers, what is known to work is never overwritten by anything but two new tokens.
"""

import logging
import secrets
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Self

from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations import encryption, spool
from integrations.encryption import Place, Purpose
from integrations.models import ConnectAttempt, Connection, State, TokenPair
from integrations.snapinspect import exchange, pair
from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import SnapInspectError, Unreachable
from integrations.snapinspect.exchange import Exchanged

logger = logging.getLogger(__name__)

# Longer than any single call to SnapInspect (see the deadlines in snapinspect/), shorter than people's patience:
# work of a killed process is taken up again when its lease has run out.
LEASE = timedelta(seconds=45)


# Taken in the row before an exchange and given back with its commit: a database that is full says so in time.
ROOM = 16 * 1024
# What else changes in the row when an exchange has brought a new pair, which has answered nothing yet.
AFTER_EXCHANGE: dict[str, Any] = {
    "version": F("version") + 1,
    "exchanged_at": Now(),
    "exchange_sent_at": None,
    "exchange_sends": 0,
    "proved_at": None,
    "error_kind": "",
    "room": b"",
}


InUse = tuple[int, int]  # id and version of a pair


class LostLease(Exception):
    """Somebody else has taken this pair over, or it is gone: stop, and write nothing more."""


class NoRoom(Exception):
    """The disk has no room for the answer of an exchange: none was sent."""


class NothingKept(Exception):
    """This connection has no tokens in use."""


def receive(attempt: ConnectAttempt, received: pair.TokenPair) -> Connection:
    """The connection that will be made from this pair, with the pair sealed as its candidate.

    Runs in the caller's transaction, with the redeeming of the state. An older candidate of the same connection gives
    way: the newest answer of SnapInspect counts.
    """
    connection = attempt.connection
    if connection is not None:
        _one_at_a_time(connection)
    else:
        connection = Connection.objects.create(customer=attempt.customer, connected_by=attempt.user)
    TokenPair.objects.candidates().filter(connection=connection).delete()
    TokenPair.objects.create(connection=connection, brought_by=attempt.user, **_sealed(received, connection))
    return connection


def receive_personal(connection: Connection, token: str, *, by: User) -> None:
    """Seals a personal access token as the connection's candidate, in the caller's transaction."""
    _one_at_a_time(connection)
    TokenPair.objects.candidates().filter(connection=connection).delete()
    TokenPair.objects.create(
        connection=connection, brought_by=by, sealed_refresh=b"", **_sealed_access(token, connection)
    )


def _one_at_a_time(connection: Connection) -> None:
    """Two tabs that come back for one connection replace its candidate one after the other."""
    list(Connection.objects.select_for_update().filter(pk=connection.pk).values_list("pk"))


def hold_asking(connection: Connection) -> "Held | None":
    """The candidate that waits for a person's answer, under our lease; None when nothing is waiting."""
    asking = TokenPair.objects.candidates().unleased().filter(connection=connection, asks=True)
    pk = asking.values_list("pk", flat=True).first()
    return _claim(asking.filter(pk=pk), pk) if pk else None


def lend(connection: Connection) -> tuple[Client, InUse]:
    """An API client that calls with this connection's access token, and which pair that token is of.

    Raises NothingKept without tokens, CannotUnseal when our keys do not open them.
    """
    stored = TokenPair.objects.current().only("sealed_access", "sealed_refresh", "version")
    row = stored.filter(connection=connection).first()
    if row is None:
        raise NothingKept
    return _client(row, connection), (row.pk, row.version)


def client_for(connection: Connection) -> Client:
    """The client of `lend`, for callers that do not care which pair it is."""
    return lend(connection)[0]


def in_use(connection: Connection) -> InUse | None:
    """Which pair is in use: compare before and after a call to see whether an answer is about it."""
    return TokenPair.objects.current().filter(connection=connection).values_list("pk", "version").first()


def hold_for_burning(connection: Connection) -> list["Held | None"]:
    """Every pair of this connection under our lease, for its last exchange.

    None for one that cannot be ended so: somebody else is exchanging it now, or it has no refresh token.
    """
    mine = TokenPair.objects.filter(connection=connection)
    free = mine.unleased().exclude(sealed_refresh=b"")
    return [_claim(free.filter(pk=pk), pk) for pk in mine.values_list("pk", flat=True)]


def note_proof(pair_in_use: InUse) -> None:
    """Notes that this pair has answered, unless that is known."""
    pk, version = pair_in_use
    TokenPair.objects.filter(pk=pk, version=version, proved_at=None).update(proved_at=Now())


def forget(connection: Connection) -> None:
    """Erases every token that is kept for this connection, from the database's files too."""
    TokenPair.objects.filter(connection=connection).delete()
    transaction.on_commit(_scrub)


def erase(row: TokenPair) -> None:
    """Erases this one pair, from the database's files too."""
    TokenPair.objects.filter(pk=row.pk).delete()
    transaction.on_commit(_scrub)


def _scrub() -> None:
    if database.vendor == "sqlite":
        with database.cursor() as cursor:
            # secure_delete has overwritten the pages; the write-ahead log would keep the old ones.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def hold(pk: int) -> "Held | None":
    """The due candidate with this id under our lease, or None when it is not due, gone, or somebody else has it."""
    return _claim(TokenPair.objects.due().filter(pk=pk), pk)


def hold_in_use(pk: int, version: int) -> "Held | None":
    """The pair in use under our lease, if it still is this one at this version and nobody else has it."""
    return _claim(TokenPair.objects.current().unleased().filter(pk=pk, version=version), pk)


def _claim(claimable: "QuerySet[TokenPair]", pk: int) -> "Held | None":
    owner = secrets.token_hex(16)
    won = claimable.update(lease_owner=owner, lease_until=Now() + LEASE)
    try:
        return Held(pk, owner) if won == 1 else None
    except LostLease:
        return None  # erased in between


def take_home() -> int:
    """Commits the pairs that were spooled and never reached the database; returns how many.

    A pair whose row is still at the version it replaces goes there. One whose row was changed meanwhile is kept aside
    as a candidate, to be proven. Runs on every host that exchanges, for its own disk.
    """
    taken = 0
    for slot, entry in spool.found():
        connection = Connection.objects.filter(code=entry.connection).first()
        if connection is None:  # deleted since, or of another database that was or is served from this folder
            if slot.is_abandoned:
                slot.free()
            continue
        row = TokenPair.objects.filter(pk=entry.pair, connection=connection)
        if row.filter(fingerprint=entry.fingerprint).exists():
            slot.free()  # it was committed; only the tidying up was cut short
            continue
        if row.filter(version=entry.version).exclude(pk__in=TokenPair.objects.unleased()).exists():
            continue  # whoever sent it may still be about to commit
        at_its_version = row.unleased().filter(version=entry.version)
        home = at_its_version.update(**_unspooled(entry), **AFTER_EXCHANGE) == 1
        if not home and not _keep_aside(connection.pk, _unspooled(entry)) and not slot.is_abandoned:
            continue  # a question to a person is in its place; look again when it is answered
        connection.ask_soon()
        slot.free()
        taken += 1
    spool.tidy()
    return taken


def _keep_aside(connection_id: int, sealed: dict[str, Any]) -> bool:
    """Makes a pair that came too late for its row a candidate: finishing proves it, and uses it if it lives.

    Whether nothing more is to be done with it: False while another candidate is in its place.
    """
    with transaction.atomic():
        connection = Connection.objects.exclude(state=State.DISCONNECTED).filter(pk=connection_id).first()
        if connection is None:
            return True
        if connection.pairs.filter(fingerprint=sealed["fingerprint"]).exists():
            return True  # somebody has found it on disk, and taken it home for us
        if connection.pairs.candidates().exists():
            return False
        TokenPair.objects.create(connection=connection, exchanged_at=Now(), **sealed)
        audit.record(
            "tokens.kept_aside",
            customer=connection.customer,
            subject=connection.code,
            fingerprint=sealed["fingerprint"],
        )
    return True


class Held:
    """A token pair under this process's lease. Every method raises LostLease once the lease is somebody else's."""

    def __init__(self, pk: int, owner: str) -> None:
        self._mine = TokenPair.objects.filter(pk=pk, lease_owner=owner)
        self.pair = self._read()

    def __repr__(self) -> str:
        return f"<Held {self.pair}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the lease back, unless it is lost already."""
        self._mine.update(lease_owner="", lease_until=None)

    @property
    def connection(self) -> Connection:
        return self.pair.connection

    def renew(self) -> None:
        """Holds on for another full lease: called before each call to SnapInspect."""
        self.write(lease_until=Now() + LEASE)

    def write(self, **changes: Any) -> None:
        """Changes the row, if it still is ours and at the version we read."""
        if self._at_our_version().update(**changes) != 1:
            raise LostLease
        self.pair = self._read()

    def client(self) -> Client:
        """An API client that calls with this pair's access token. Raises CannotUnseal."""
        return _client(self.pair, self.connection)

    def exchange(self) -> bool:
        """Replaces both tokens by new ones; returns whether SnapInspect returned the state we sent.

        Raises errors of `snapinspect.errors`: if the request may have arrived, the journal stays written, and the
        outcome has to be found out by probing. Raises CannotUnseal before anything is sent.

        Vendor page, "Token Exchange Endpoint": an exchange replaces both tokens, and kills the old access token.
        """
        # All that could fail on our side fails before the request: the keys open and seal, disk and database have room.
        refresh_token = self._unseal(self.pair.sealed_refresh, "refresh")
        encryption.seal(refresh_token, _place(self.connection, "refresh"))
        try:
            slot = spool.reserve(self.pair.pk, self.pair.version)
        except OSError:
            raise NoRoom from None
        try:
            self.write(
                lease_until=Now() + LEASE,
                exchange_sent_at=Now(),
                exchange_sends=F("exchange_sends") + 1,
                room=secrets.token_bytes(ROOM),
            )
            answer = self._send(refresh_token)
        except Unreachable as error:
            slot.free()
            # Nothing left us, or it was turned away unread: RFC 6585 section 4.
            if not error.sent or error.status == HTTPStatus.TOO_MANY_REQUESTS:
                self.write(exchange_sent_at=None, exchange_sends=F("exchange_sends") - 1, room=b"")
            raise
        except BaseException:
            slot.free()
            raise
        sealed = _sealed(answer.pair, self.connection)
        try:
            slot.fill(_spooled(self.pair, sealed))
        except OSError:
            # The disk has failed since the slot was reserved; the database may not have.
            logger.exception("The answer of an exchange could not be spooled; it goes to the database alone.")
        try:
            self._commit(sealed)
        except LostLease:
            # We were frozen past our lease. Whoever took over could only find the old tokens dead: ours are the newest.
            if _keep_aside(self.connection.pk, sealed):
                slot.free()
            raise
        slot.free()
        return answer.state_matches

    def burn(self, *, deadline: float) -> bool:
        """Whether an exchange has killed both tokens; the new ones are thrown away unseen. `deadline` in seconds."""
        try:
            self._send(self._unseal(self.pair.sealed_refresh, "refresh"), deadline=deadline)
        except (SnapInspectError, encryption.CannotUnseal):
            return False
        return True

    def take_spooled(self) -> bool:
        """Whether the answer of the exchange in the journal was found on this host's disk, and committed."""
        for slot, entry in spool.found():
            here = self.pair.pk, self.pair.version, self.connection.code
            if (entry.pair, entry.version, entry.connection) == here:
                self._commit(_unspooled(entry))
                slot.free()
                return True
        return False

    def _send(self, refresh_token: str, *, deadline: float = 20.0) -> Exchanged:
        return exchange.exchange(
            settings.SNAPINSPECT_EXCHANGE_URL,
            credentials=exchange.ClientCredentials(settings.SNAPINSPECT_CLIENT_ID, settings.SNAPINSPECT_CLIENT_SECRET),
            redirect_uri=settings.SNAPINSPECT_REDIRECT_URI,
            state=secrets.token_urlsafe(32),
            refresh_token=refresh_token,
            deadline=deadline,
            allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
        )

    def _commit(self, sealed: dict[str, Any]) -> None:
        if self._at_our_version().update(**sealed, **AFTER_EXCHANGE) != 1:
            raise LostLease
        self.pair = self._read()

    def move_to(self, connection: Connection) -> None:
        """Makes this the candidate of another connection of the same customer, sealed for its new place."""
        sealed = _sealed_access(self._unseal(self.pair.sealed_access, "access"), connection)
        if self.pair.sealed_refresh:
            refresh = self._unseal(self.pair.sealed_refresh, "refresh")
            sealed["sealed_refresh"] = encryption.seal(refresh, _place(connection, "refresh")).ciphertext
        with transaction.atomic():
            TokenPair.objects.candidates().filter(connection=connection).delete()
            self.write(connection=connection, **sealed)

    def promote(self) -> None:
        """Makes this the pair in use; the one before it is erased."""
        with transaction.atomic():
            TokenPair.objects.current().filter(connection=self.connection).delete()
            self.write(role=TokenPair.Role.CURRENT, tries=0, error_kind="")

    def discard(self) -> None:
        """Erases this pair."""
        if self._at_our_version().delete()[0] != 1:
            raise LostLease

    def _at_our_version(self) -> "QuerySet[TokenPair]":
        found: QuerySet[TokenPair] = self._mine.filter(version=self.pair.version)
        return found

    def _read(self) -> TokenPair:
        row: TokenPair | None = self._mine.select_related("connection__customer").first()
        if row is None:
            raise LostLease
        return row

    def _unseal(self, ciphertext: bytes | memoryview, purpose: Purpose) -> str:
        return encryption.unseal(ciphertext, _place(self.connection, purpose))


def _client(row: TokenPair, connection: Connection) -> Client:
    try:
        refresh_token = encryption.unseal(row.sealed_refresh, _place(connection, "refresh"))
    except encryption.CannotUnseal:
        refresh_token = ""  # none, or spoilt: calls do without
    return Client(
        settings.SNAPINSPECT_API_URL,
        token=encryption.unseal(row.sealed_access, _place(connection, "access")),
        refresh_token=refresh_token,
        client_id=settings.SNAPINSPECT_CLIENT_ID,
        allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
    )


def _place(connection: Connection, purpose: Purpose) -> Place:
    return Place(connection.customer_id, connection.pk, purpose)


def _spooled(row: TokenPair, sealed: dict[str, Any]) -> spool.Entry:
    return spool.Entry(
        pair=row.pk,
        version=row.version,
        connection=row.connection.code,
        sealed_access=sealed["sealed_access"].decode(),
        sealed_refresh=sealed["sealed_refresh"].decode(),
        key_id=sealed["key_id"],
        fingerprint=sealed["fingerprint"],
    )


def _unspooled(entry: spool.Entry) -> dict[str, Any]:
    return {
        "sealed_access": entry.sealed_access.encode(),
        "sealed_refresh": entry.sealed_refresh.encode(),
        "key_id": entry.key_id,
        "fingerprint": entry.fingerprint,
    }


def _sealed(plain: pair.TokenPair, connection: Connection) -> dict[str, Any]:
    return {
        **_sealed_access(plain.access, connection),
        "sealed_refresh": encryption.seal(plain.refresh, _place(connection, "refresh")).ciphertext,
    }


def _sealed_access(token: str, connection: Connection) -> dict[str, Any]:
    access = encryption.seal(token, _place(connection, "access"))
    return {
        "sealed_access": access.ciphertext,
        "key_id": access.key_id,
        "fingerprint": pair.fingerprint(token),
    }

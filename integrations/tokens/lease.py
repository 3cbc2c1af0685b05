"""Token pairs under a lease: one process at a time changes a pair, and one that lost its lease cannot write.

A lease is claimed by one conditional UPDATE on the database's clock, and every write counts the rows it changed: a
process that was suspended past its lease changes 0 rows and stops. No transaction is open during a call to SnapInspect.
An exchange is journalled in the row before it is sent, and only two new tokens ever replace stored ones.
"""

import logging
import secrets
from http import HTTPStatus
from typing import Any, Generic, Self, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from integrations.metrics import counters
from integrations.models import Connection, GuestTokenPair, TokenPair, leases
from integrations.snapinspect import exchange_call
from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import SnapInspectError, Unreachable
from integrations.snapinspect.exchange_call import Exchanged
from integrations.snapinspect.token_pair import LONGEST_TOKEN
from integrations.tokens import spool, storage
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.spool_recovery import keep_as_candidate

logger = logging.getLogger(__name__)

EXCHANGE_DEADLINE = 20.0  # seconds
# Written into the row before an exchange and removed by its commit: a full database fails before the exchange is sent.
FILLER_BYTES = 4 * LONGEST_TOKEN

PairVersion = tuple[int, int]  # id and version of a token pair
Pair = TypeVar("Pair", TokenPair, GuestTokenPair)


class LostLease(Exception):
    """Another process holds the lease now, or the pair is erased: write nothing more."""


class NoDiskSpace(Exception):
    """This host's disk cannot hold the answer of an exchange: none was sent."""


def claim_candidate(pk: int) -> "LeasedPair | None":
    """Claims the candidate with this id; None when it is not due, erased, or leased."""
    return _claim(TokenPair.objects.due().filter(pk=pk), pk)


def claim_current(pk: int, version: int) -> "LeasedPair | None":
    """Claims the current pair with this id; None when its version is another by now, it is leased or to be erased."""
    return _claim(TokenPair.objects.current().unleased().filter(pk=pk, version=version, erase_after=None), pk)


def claim_asking(connection: Connection) -> "LeasedPair | None":
    """Claims the candidate that waits for a person's answer; None when there is none, or it is leased."""
    asking = TokenPair.objects.candidates().unleased().filter(connection=connection, asks=True, erase_after=None)
    pk = asking.values_list("pk", flat=True).first()
    return _claim(asking.filter(pk=pk), pk) if pk else None


def claim_for_revocation(connection: Connection) -> list["LeasedPair | None"]:
    """Claims every pair of this connection; None for one that is leased, or has no refresh token."""
    mine = TokenPair.objects.filter(connection=connection)
    free = mine.unleased().exclude(sealed_refresh=b"")
    return [_claim(free.filter(pk=pk), pk) for pk in mine.values_list("pk", flat=True)]


def lock_connection(connection: Connection) -> None:
    """Locks the connection's row until the caller's transaction ends.

    Whoever changes a connection and its pairs locks the connection first: two orders of locking would deadlock.
    """
    # no_key: a worker that inserts an event holds the queue's row and locks the connection's key; a caller of this
    # may wait for that queue's row.
    list(Connection.objects.select_for_update(no_key=True).filter(pk=connection.pk).values_list("pk"))


def take(claimable: "QuerySet[Any]") -> str | None:
    """Leases the one row that is left in `claimable`; returns the lease's owner id, None when there is no such row."""
    owner = secrets.token_hex(16)
    return owner if claimable.update(lease_owner=owner, lease_until=Now() + leases.LEASE) == 1 else None


def _claim(claimable: "QuerySet[TokenPair]", pk: int) -> "LeasedPair | None":
    owner = take(claimable)
    try:
        return LeasedPair(pk, owner) if owner else None
    except LostLease:
        return None  # erased in between


class Leased(Generic[Pair]):
    """A row under this process's lease, which ends with the `with` block. Methods raise LostLease once it is lost."""

    def __init__(self, rows: "QuerySet[Pair]", owner: str) -> None:
        self._mine: QuerySet[Pair] = rows.filter(lease_owner=owner)
        self.pair: Pair = self._read()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.pair}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._mine.update(lease_owner="", lease_until=None)

    def extend(self) -> None:
        """Restarts the lease: called before each call to SnapInspect."""
        self.write(lease_until=Now() + leases.LEASE)

    def write(self, **changes: Any) -> None:
        """Changes the row."""
        if self._writable().update(**changes) != 1:
            raise LostLease
        self.pair = self._read()

    def client(self) -> Client:
        """Returns an API client with this pair's access token. Raises CannotUnseal."""
        return storage.client_of(self.pair)

    def _writable(self) -> "QuerySet[Pair]":
        return self._mine

    def _read(self) -> Pair:
        row: Pair | None = self._mine.first()
        if row is None:
            raise LostLease
        return row


class LeasedPair(Leased[TokenPair]):
    """A connection's token pair under lease."""

    def __init__(self, pk: int, owner: str) -> None:
        super().__init__(TokenPair.objects.filter(pk=pk).select_related("connection__customer"), owner)

    @property
    def connection(self) -> Connection:
        connection: Connection = self.pair.connection
        return connection

    @property
    def company_id(self) -> str:
        """The company that this pair is known to be of; empty if that is not known yet.

        A candidate may be of another company than its connection, until somebody has decided about that.
        """
        if self.pair.role == TokenPair.Role.CURRENT:
            return self.connection.company_id
        return str(self.pair.profile.get("company_id", ""))

    def exchange(self) -> bool:
        """Replaces both tokens by new ones; returns whether SnapInspect returned the state we sent.

        Raises errors of `snapinspect.errors`: if the request may have arrived, the journal stays written, and
        `exchange.resolve` has to find out the outcome. Raises CannotUnseal and NoDiskSpace before anything is sent.

        Vendor page, "Token Exchange Endpoint": an exchange replaces both tokens, and kills the old access token.
        """
        # What can fail on our side fails before the request: keys, disk space, database space.
        refresh_token = storage.refresh_token(self.pair)
        try:
            slot = spool.reserve(self.pair.pk, self.pair.version)
        except OSError:
            raise NoDiskSpace from None
        try:
            self.write(
                lease_until=Now() + leases.LEASE,
                exchange_sent_at=Now(),
                exchange_sends=F("exchange_sends") + 1,
                room=secrets.token_bytes(FILLER_BYTES),
            )
            answer = send_exchange(refresh_token)
        except Unreachable as error:
            slot.free()
            if never_arrived(error):
                self.write(exchange_sent_at=None, exchange_sends=F("exchange_sends") - 1, room=b"")
            raise
        except BaseException:
            slot.free()
            raise
        sealed = storage.columns(answer.pair, self.connection)
        entry = storage.to_spool(self.pair, sealed)
        try:
            slot.fill(entry)
        except OSError:
            # The disk has failed since the slot was reserved; the database may still work.
            logger.exception("The answer of an exchange could not be spooled; it goes to the database alone.")
        try:
            self._commit(sealed)
        except LostLease:
            # Suspended past the lease. Another process could only find the old tokens dead: ours are the newest.
            if keep_as_candidate(entry):
                slot.free()
            raise
        slot.free()
        return answer.state_matches

    def revoke(self, *, deadline: float) -> bool:
        """Exchanges the tokens and discards the new ones; returns whether that succeeded. `deadline` in seconds."""
        try:
            send_exchange(storage.refresh_token(self.pair), deadline=deadline)
        except (SnapInspectError, CannotUnseal):
            return False
        return True

    def commit_spooled(self) -> bool:
        """Commits the answer of the journalled exchange from this host's spool; returns whether it was there."""
        for slot, entry in spool.entries():
            here = self.pair.pk, self.pair.version, self.connection.code
            if (entry.pair, entry.version, entry.connection) == here:
                self._commit(storage.from_spool(entry))
                slot.free()
                return True
        return False

    def move_to(self, connection: Connection) -> None:
        """Makes this the candidate of another connection of the same customer. Raises CannotUnseal."""
        sealed = storage.columns_for(connection, self.pair)
        with transaction.atomic():
            TokenPair.objects.candidates().filter(connection=connection).delete()
            self.write(connection=connection, **sealed)

    def promote(self) -> None:
        """Makes this the current pair; the one before it is erased."""
        with transaction.atomic():
            TokenPair.objects.current().filter(connection=self.connection).delete()
            self.write(role=TokenPair.Role.CURRENT, tries=0, error_kind="")

    def discard(self) -> None:
        """Erases this pair."""
        if self._writable().delete()[0] != 1:
            raise LostLease

    def _commit(self, sealed: storage.Columns) -> None:
        self.write(**sealed, **storage.AFTER_EXCHANGE)

    def _writable(self) -> "QuerySet[TokenPair]":
        """The row, unless another process has changed it, or a disconnect is about to erase it."""
        rows: QuerySet[TokenPair] = self._mine.filter(version=self.pair.version, erase_after=None)
        return rows


def send_exchange(refresh_token: str, *, deadline: float = EXCHANGE_DEADLINE) -> Exchanged:
    """Sends one exchange with this app's credentials. `deadline` in seconds. Raises `snapinspect.errors`."""
    try:
        answer = exchange_call.exchange(
            settings.SNAPINSPECT_EXCHANGE_URL,
            credentials=exchange_call.ClientCredentials(
                settings.SNAPINSPECT_CLIENT_ID, settings.SNAPINSPECT_CLIENT_SECRET
            ),
            redirect_uri=settings.SNAPINSPECT_REDIRECT_URI,
            state=secrets.token_urlsafe(32),
            refresh_token=refresh_token,
            deadline=deadline,
            allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
        )
    except SnapInspectError as error:
        counters.count_exchange(error.kind)
        raise
    counters.count_exchange("ok")
    return answer


def never_arrived(error: Unreachable) -> bool:
    """Returns whether nothing was sent, or the request was rejected without being processed (RFC 6585 section 4)."""
    return not error.sent or error.status == HTTPStatus.TOO_MANY_REQUESTS

"""A token pair under lease: nobody else changes it, and a holder that comes back too late finds that out.

The lease is claimed by one conditional UPDATE on the database's clock, and every write counts the row it changed: a
holder that was frozen past its lease finds 0 rows and stops. No transaction is open while SnapInspect is called. An
exchange is journalled before it is sent, and whatever it answers, what is known to work is never overwritten by
anything but two new tokens.
"""

import logging
import secrets
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Self

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts import audit
from integrations.metrics import counters
from integrations.models import Connection, State, TokenPair
from integrations.snapinspect import exchange_call
from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import SnapInspectError, Unreachable
from integrations.snapinspect.exchange_call import Exchanged
from integrations.tokens import spool, storage
from integrations.tokens.encryption import CannotUnseal

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


class LostLease(Exception):
    """Somebody else has taken this pair over, or it is gone: stop, and write nothing more."""


class NoRoom(Exception):
    """The disk has no room for the answer of an exchange: none was sent."""


def hold(pk: int) -> "Held | None":
    """The due candidate with this id under our lease, or None when it is not due, gone, or somebody else has it."""
    return _claim(TokenPair.objects.due().filter(pk=pk), pk)


def hold_in_use(pk: int, version: int) -> "Held | None":
    """The pair in use under our lease, if it still is this one at this version and nobody else has it."""
    return _claim(TokenPair.objects.current().unleased().filter(pk=pk, version=version), pk)


def hold_asking(connection: Connection) -> "Held | None":
    """The candidate that waits for a person's answer, under our lease; None when nothing is waiting."""
    asking = TokenPair.objects.candidates().unleased().filter(connection=connection, asks=True, erase_after=None)
    pk = asking.values_list("pk", flat=True).first()
    return _claim(asking.filter(pk=pk), pk) if pk else None


def hold_for_burning(connection: Connection) -> list["Held | None"]:
    """Every pair of this connection under our lease, for its last exchange.

    None for one that cannot be ended so: somebody else is exchanging it now, or it has no refresh token.
    """
    mine = TokenPair.objects.filter(connection=connection)
    free = mine.unleased().exclude(sealed_refresh=b"")
    return [_claim(free.filter(pk=pk), pk) for pk in mine.values_list("pk", flat=True)]


def hold_still(connection: Connection) -> None:
    """Keeps others from changing this connection and its pairs until the caller commits.

    Whoever changes both takes the connection first: in two orders they would wait for each other, and the database
    would end one of them.
    """
    # no_key: a worker that inserts an event holds the queue's row and locks the connection's key; a caller of this
    # may wait for that queue's row.
    list(Connection.objects.select_for_update(no_key=True).filter(pk=connection.pk).values_list("pk"))


def _claim(claimable: "QuerySet[TokenPair]", pk: int) -> "Held | None":
    owner = secrets.token_hex(16)
    won = claimable.update(lease_owner=owner, lease_until=Now() + LEASE)
    try:
        return Held(pk, owner) if won == 1 else None
    except LostLease:
        return None  # erased in between


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
        return storage.client(self.pair, self.connection)

    def exchange(self) -> bool:
        """Replaces both tokens by new ones; returns whether SnapInspect returned the state we sent.

        Raises errors of `snapinspect.errors`: if the request may have arrived, the journal stays written, and the
        outcome has to be found out by probing. Raises CannotUnseal before anything is sent.

        Vendor page, "Token Exchange Endpoint": an exchange replaces both tokens, and kills the old access token.
        """
        # All that could fail on our side fails before the request: the keys open and seal, disk and database have room.
        refresh_token = storage.refresh_token(self.pair)
        storage.prove_sealing(self.connection)
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
            # The disk has failed since the slot was reserved; the database may not have.
            logger.exception("The answer of an exchange could not be spooled; it goes to the database alone.")
        try:
            self._commit(sealed)
        except LostLease:
            # We were frozen past our lease. Whoever took over could only find the old tokens dead: ours are the newest.
            if keep_aside(entry):
                slot.free()
            raise
        slot.free()
        return answer.state_matches

    def burn(self, *, deadline: float) -> bool:
        """Whether an exchange has killed both tokens; the new ones are thrown away unseen. `deadline` in seconds."""
        try:
            self._send(storage.refresh_token(self.pair), deadline=deadline)
        except (SnapInspectError, CannotUnseal):
            return False
        return True

    def take_spooled(self) -> bool:
        """Whether the answer of the exchange in the journal was found on this host's disk, and committed."""
        for slot, entry in spool.found():
            here = self.pair.pk, self.pair.version, self.connection.code
            if (entry.pair, entry.version, entry.connection) == here:
                self._commit(storage.from_spool(entry))
                slot.free()
                return True
        return False

    def _send(self, refresh_token: str, *, deadline: float = 20.0) -> Exchanged:
        return send_exchange(refresh_token, deadline=deadline)

    def _commit(self, sealed: dict[str, Any]) -> None:
        if self._at_our_version().update(**sealed, **AFTER_EXCHANGE) != 1:
            raise LostLease
        self.pair = self._read()

    def move_to(self, connection: Connection) -> None:
        """Makes this the candidate of another connection of the same customer, sealed for its new place."""
        sealed = storage.columns_elsewhere(self.pair, connection)
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
        """The row, unless somebody else has changed it, or a disconnect has condemned it."""
        found: QuerySet[TokenPair] = self._mine.filter(version=self.pair.version, erase_after=None)
        return found

    def _read(self) -> TokenPair:
        row: TokenPair | None = self._mine.select_related("connection__customer").first()
        if row is None:
            raise LostLease
        return row


def send_exchange(refresh_token: str, *, deadline: float = 20.0) -> Exchanged:
    """The answer to one exchange with this app's credentials; `deadline` in seconds. Raises `snapinspect.errors`."""
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
        counters.exchange_ended(error.kind)
        raise
    counters.exchange_ended("ok")
    return answer


def never_arrived(error: Unreachable) -> bool:
    """Whether nothing left us, or it was turned away unread: RFC 6585 section 4."""
    return not error.sent or error.status == HTTPStatus.TOO_MANY_REQUESTS


def keep_aside(entry: spool.Entry) -> bool:
    """Makes a pair that came too late for its row a candidate: finishing proves it, and uses it if it lives.

    Not one from before a disconnect, or before the grant that is in use now: it is refused, and the audit trail says
    so. Whether nothing more is to be done with it: False while another candidate is in its place.
    """
    with transaction.atomic():
        # Whoever disconnects it at this moment comes before us, or finds what we leave.
        connection = Connection.objects.select_for_update().filter(code=entry.connection).first()
        if connection is None:
            return True
        pairs = connection.pairs.all()
        if pairs.filter(fingerprint=entry.fingerprint).exists():
            return True  # somebody has found it on disk, and taken it home for us
        ended = connection.state == State.DISCONNECTED or entry.disconnects < connection.disconnects
        if ended or pairs.current().filter(pk__gt=entry.pair).exists():
            reason = "disconnected" if ended else "connected_anew"
            logger.warning("A pair of connection %s came too late and was erased (%s).", connection.code, reason)
            _note("tokens.refused", connection, entry, reason=reason)
            return True
        if pairs.candidates().exists():
            return False
        TokenPair.objects.create(connection=connection, exchanged_at=Now(), **storage.from_spool(entry))
        _note("tokens.kept_aside", connection, entry)
    return True


def _note(kind: str, connection: Connection, entry: spool.Entry, **detail: Any) -> None:
    audit.record(kind, customer=connection.customer, subject=connection.code, fingerprint=entry.fingerprint, **detail)

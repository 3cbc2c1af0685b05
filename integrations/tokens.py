"""Custody of tokens: the only room where a stored token is readable, and the only one that writes token columns.

Rules kept here. A pair is changed only under its lease and at its expected version (`Held`). The lease is claimed by
one conditional UPDATE on the database's clock, and every write counts the row it changed: a holder that was frozen past
its lease finds 0 rows and stops. No transaction is open while SnapInspect is called. An exchange is journalled before it is
sent, and whatever it answers, what is known to work is never overwritten by anything but two new tokens.
"""

import secrets
from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from integrations import encryption
from integrations.encryption import Place, Purpose
from integrations.models import ConnectAttempt, Connection, TokenPair
from integrations.snapinspect import exchange, pair
from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import Unreachable

# Longer than any single call to SnapInspect (see the deadlines in snapinspect/), shorter than people's patience:
# work of a killed process is taken up again when its lease has run out.
LEASE = timedelta(seconds=45)


class LostLease(Exception):
    """Somebody else has taken this pair over, or it is gone: stop, and write nothing more."""


class NothingKept(Exception):
    """This connection has no tokens in use."""


def receive(attempt: ConnectAttempt, received: pair.TokenPair) -> Connection:
    """The connection that will be made from this pair, with the pair sealed as its candidate.

    Runs in the caller's transaction, with the redeeming of the state. An older candidate of the same connection gives
    way: the newest answer of SnapInspect counts.
    """
    connection = attempt.connection
    if connection is None:
        connection = Connection.objects.create(customer=attempt.customer, connected_by=attempt.user)
    TokenPair.objects.candidates().filter(connection=connection).delete()
    TokenPair.objects.create(connection=connection, brought_by=attempt.user, **_sealed(received, connection))
    return connection


def client_for(connection: Connection) -> Client:
    """An API client that calls with this connection's access token.

    Raises NothingKept without tokens, CannotUnseal when our keys do not open them.
    """
    row = TokenPair.objects.current().filter(connection=connection).only("sealed_access").first()
    if row is None:
        raise NothingKept
    return _client(encryption.unseal(row.sealed_access, _place(connection, "access")))


def in_use(connection: Connection) -> tuple[int, int] | None:
    """Which pair is in use, and its version: compare before and after a call to see whether an answer is about it."""
    return TokenPair.objects.current().filter(connection=connection).values_list("pk", "version").first()


def forget(connection: Connection) -> None:
    """Erases every token that is kept for this connection."""
    TokenPair.objects.filter(connection=connection).delete()


def hold(pk: int) -> "Held | None":
    """The due candidate with this id under our lease, or None when it is not due, gone, or somebody else has it."""
    owner = secrets.token_hex(16)
    won = TokenPair.objects.due().filter(pk=pk).update(lease_owner=owner, lease_until=Now() + LEASE)
    return Held(pk, owner) if won == 1 else None


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
        return _client(self._unseal(self.pair.sealed_access, "access"))

    def exchange(self) -> bool:
        """Replaces both tokens by new ones; returns whether SnapInspect returned the state we sent.

        Raises errors of `snapinspect.errors`: if the request may have arrived, the journal stays written, and the
        outcome has to be found out by probing. Raises CannotUnseal before anything is sent.

        Vendor page, "Token Exchange Endpoint": an exchange replaces both tokens, and kills the old access token.
        """
        # All that could fail on our side fails before the request: the keys open and seal, the database can write.
        refresh_token = self._unseal(self.pair.sealed_refresh, "refresh")
        encryption.seal(refresh_token, _place(self.connection, "refresh"))
        self.write(lease_until=Now() + LEASE, exchange_sent_at=Now(), exchange_sends=F("exchange_sends") + 1)
        try:
            answer = exchange.exchange(
                settings.SNAPINSPECT_EXCHANGE_URL,
                credentials=exchange.ClientCredentials(
                    settings.SNAPINSPECT_CLIENT_ID, settings.SNAPINSPECT_CLIENT_SECRET
                ),
                redirect_uri=settings.SNAPINSPECT_REDIRECT_URI,
                state=secrets.token_urlsafe(32),
                refresh_token=refresh_token,
                allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
            )
        except Unreachable as error:
            if not error.sent:
                self.write(exchange_sent_at=None, exchange_sends=F("exchange_sends") - 1)
            raise
        self.write(
            **_sealed(answer.pair, self.connection),
            version=F("version") + 1,
            exchanged_at=Now(),
            exchange_sent_at=None,
            exchange_sends=0,
            proved_at=None,  # the new pair has answered nothing yet
        )
        return answer.state_matches

    def move_to(self, connection: Connection) -> None:
        """Makes this the candidate of another connection of the same customer, sealed for its new place."""
        moved = pair.TokenPair(
            access=self._unseal(self.pair.sealed_access, "access"),
            refresh=self._unseal(self.pair.sealed_refresh, "refresh"),
        )
        with transaction.atomic():
            TokenPair.objects.candidates().filter(connection=connection).delete()
            self.write(connection=connection, **_sealed(moved, connection))

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


def _client(access_token: str) -> Client:
    return Client(
        settings.SNAPINSPECT_API_URL,
        token=access_token,
        client_id=settings.SNAPINSPECT_CLIENT_ID,
        allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK,
    )


def _place(connection: Connection, purpose: Purpose) -> Place:
    return Place(connection.customer_id, connection.pk, purpose)


def _sealed(plain: pair.TokenPair, connection: Connection) -> dict[str, Any]:
    access = encryption.seal(plain.access, _place(connection, "access"))
    refresh = encryption.seal(plain.refresh, _place(connection, "refresh"))
    return {
        "sealed_access": access.ciphertext,
        "sealed_refresh": refresh.ciphertext,
        "key_id": access.key_id,
        "fingerprint": pair.fingerprint(plain.access),
    }

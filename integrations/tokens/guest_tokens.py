"""Custody of pairs that belong to no connection (yet): brought back by somebody who links their user, or signs in.

The rules of `tokens` and `leasing` hold here, too: sealed for its own row, changed under a lease only, every write
counts the row it changed, no transaction is open while SnapInspect is called. What is different: a guest's exchange is
worth one try. A lost answer costs the person another press of the button, so there is no spool, and nothing is sent a
second time.
"""

import secrets
from typing import Any, Self

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.models import User
from integrations.models import ConnectAttempt, Connection, GuestTokenPair
from integrations.snapinspect import token_pair
from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import Unreachable
from integrations.tokens import custody, lease, storage
from integrations.tokens.lease import LostLease


def receive(attempt: ConnectAttempt, received: token_pair.TokenPair) -> None:
    """Seals what came back with this attempt, in the caller's transaction, with the redeeming of the state."""
    introduction = GuestTokenPair(attempt=attempt)
    for column, value in storage.columns(received, introduction).items():
        setattr(introduction, column, value)
    introduction.save(force_insert=True)


def hold(pk: int) -> "Guest | None":
    """The due introduction with this id under our lease, or None when it is not due, gone, or somebody else has it."""
    owner = secrets.token_hex(16)
    won = GuestTokenPair.objects.due().filter(pk=pk).update(lease_owner=owner, lease_until=Now() + lease.LEASE)
    return Guest(pk, owner) if won == 1 else None


class Guest:
    """An introduction under this process's lease. Every method raises LostLease once the lease is somebody else's."""

    def __init__(self, pk: int, owner: str) -> None:
        self._mine: QuerySet[GuestTokenPair] = GuestTokenPair.objects.filter(pk=pk, lease_owner=owner)
        self.row = self._read()

    def __repr__(self) -> str:
        return f"<Guest {self.row.fingerprint}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the lease back, unless it is lost already."""
        self._mine.update(lease_owner="", lease_until=None)

    def write(self, **changes: Any) -> None:
        """Changes the row, if it still is ours."""
        if self._mine.update(**changes) != 1:
            raise LostLease
        self.row = self._read()

    def exchange(self) -> None:
        """Replaces both tokens by new ones, which only this app has ever seen.

        Raises errors of `snapinspect.errors`; CannotUnseal before anything is sent. `exchange_sent_at` stays written
        unless the request certainly never arrived.
        """
        refresh_token = storage.refresh_token(self.row)
        self.write(exchange_sent_at=Now(), lease_until=Now() + lease.LEASE)
        try:
            answer = lease.send_exchange(refresh_token)
        except Unreachable as error:
            if lease.never_arrived(error):
                self.write(exchange_sent_at=None)
            raise
        self.write(exchanged_at=Now(), lease_until=Now() + lease.LEASE, **storage.columns(answer.pair, self.row))

    def client(self) -> Client:
        """An API client that calls with this guest's access token. Raises CannotUnseal."""
        return storage.client(self.row, self.row)

    def move_to(self, connection: Connection, *, by: User) -> None:
        """Makes the pair, which was exchanged already, the candidate of this connection. Raises CannotUnseal."""
        with transaction.atomic():
            custody.receive_exchanged(connection, storage.columns_elsewhere(self.row, connection), by=by)
            self.erase()

    def erase(self) -> None:
        """Erases the pair, from the database's files too; the row stays, and says what came of it."""
        self.write(sealed_access=b"", sealed_refresh=b"", key_id="")
        transaction.on_commit(custody.scrub)

    def _read(self) -> GuestTokenPair:
        row: GuestTokenPair | None = self._mine.select_related("attempt__user").first()
        if row is None:
            raise LostLease
        return row

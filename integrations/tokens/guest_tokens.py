"""Token pairs without a connection: received from somebody who links their SnapInspect user, or signs in with it.

An exchange of such a pair is sent once: a lost answer costs the person another click, so there is no spool and no
second send.
"""

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from integrations.models import ConnectAttempt, Connection, GuestTokenPair, leases
from integrations.snapinspect import token_pair
from integrations.snapinspect.errors import Unreachable
from integrations.tokens import custody, lease, storage


def receive(attempt: ConnectAttempt, received: token_pair.TokenPair) -> None:
    """Stores the received pair, in the caller's transaction, together with the redemption of the state."""
    row = GuestTokenPair(attempt=attempt)
    for column, value in storage.columns(received, row).items():
        setattr(row, column, value)
    row.save(force_insert=True)


def claim(pk: int) -> "LeasedGuestPair | None":
    """Claims the pair with this id; None when it is not due, erased, or leased."""
    owner = lease.take(GuestTokenPair.objects.due().filter(pk=pk))
    return LeasedGuestPair(pk, owner) if owner else None


class LeasedGuestPair(lease.Leased[GuestTokenPair]):
    """A pair without a connection, under lease."""

    def __init__(self, pk: int, owner: str) -> None:
        super().__init__(GuestTokenPair.objects.filter(pk=pk).select_related("attempt__user"), owner)

    def exchange(self) -> None:
        """Replaces both tokens by new ones, which nobody else has seen.

        Raises errors of `snapinspect.errors`; CannotUnseal before anything is sent. `exchange_sent_at` stays written
        unless the request certainly never arrived.
        """
        refresh_token = storage.refresh_token(self.pair)
        self.write(exchange_sent_at=Now(), lease_until=Now() + leases.LEASE)
        try:
            answer = lease.send_exchange(refresh_token)
        except Unreachable as error:
            if lease.never_arrived(error):
                self.write(exchange_sent_at=None)
            raise
        self.write(exchanged_at=Now(), lease_until=Now() + leases.LEASE, **storage.columns(answer.pair, self.pair))

    def move_to(self, connection: Connection, *, by: User) -> None:
        """Makes the exchanged pair the candidate of this connection. Raises CannotUnseal."""
        with transaction.atomic():
            custody.receive_exchanged(connection, storage.columns_for(connection, self.pair), by=by)
            self.erase()

    def erase(self) -> None:
        """Erases the pair, from the database's files too; the row stays, with its outcome."""
        self.write(sealed_access=b"", sealed_refresh=b"", key_id="")
        transaction.on_commit(custody.scrub_files)

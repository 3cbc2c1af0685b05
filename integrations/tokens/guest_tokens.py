"""Token pairs without a connection: of somebody who links their SnapInspect user or signs in with it, or of nobody.

An exchange of such a pair is sent once: a lost answer costs the person another click, so there is no spool and no
second send.
"""

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.models import User
from integrations.models import ConnectAttempt, Connection, GuestTokenPair, leases
from integrations.snapinspect import token_pair
from integrations.snapinspect.errors import Unreachable
from integrations.snapinspect.exchange_call import Exchanged
from integrations.tokens import custody, diagnosis, lease, storage


def receive(attempt: ConnectAttempt, received: token_pair.TokenPair) -> None:
    """Stores the received pair, in the caller's transaction, together with the redemption of the state."""
    ConnectAttempt.objects.filter(pk=attempt.pk).update(fingerprint=token_pair.fingerprint(received.access))
    # A link scanner may have opened the address first.
    GuestTokenPair.objects.filter(attempt=attempt, to_revoke=True).delete()
    _insert(GuestTokenPair(attempt=attempt), received)


def keep_to_revoke(attempt: ConnectAttempt, received: token_pair.TokenPair, *, at: datetime) -> None:
    """Stores a pair that is used for nothing until it is revoked.

    One for each attempt, the first: whoever has an old address cannot fill the table. at: when to revoke it.
    """
    if GuestTokenPair.objects.filter(attempt=attempt).exists():
        return
    try:
        with transaction.atomic():
            _insert(GuestTokenPair(attempt=attempt, to_revoke=True, next_try_at=at), received)
    except IntegrityError:
        return  # another callback of this attempt was faster


def claim(pk: int) -> "LeasedGuestPair | None":
    """Claims the pair with this id; None when it is not due, erased, or leased."""
    return _claim(GuestTokenPair.objects.due(), pk)


def claim_to_revoke(pk: int) -> "LeasedGuestPair | None":
    """Claims the pair with this id; None when it is not to be revoked now, erased, or leased."""
    return _claim(GuestTokenPair.objects.due_to_revoke(), pk)


def _claim(rows: "QuerySet[GuestTokenPair]", pk: int) -> "LeasedGuestPair | None":
    owner = lease.take(rows.filter(pk=pk))
    return LeasedGuestPair(pk, owner) if owner else None


def _insert(row: GuestTokenPair, received: token_pair.TokenPair) -> None:
    for column, value in storage.columns(received, row).items():
        setattr(row, column, value)
    row.save(force_insert=True)


class LeasedGuestPair(lease.Leased[GuestTokenPair]):
    """A pair without a connection, under lease."""

    def __init__(self, pk: int, owner: str) -> None:
        super().__init__(GuestTokenPair.objects.filter(pk=pk).select_related("attempt__user"), owner)

    def exchange(self) -> None:
        """Replaces both tokens by new ones, which nobody else has seen.

        Raises errors of `snapinspect.errors`; CannotUnseal before anything is sent. `exchange_sent_at` stays written
        unless the request certainly never arrived.
        """
        answer = self._send_exchange()
        self.write(exchanged_at=Now(), lease_until=Now() + leases.LEASE, **storage.columns(answer.pair, self.pair))

    def revoke(self) -> None:
        """Exchanges the tokens and discards the new ones, which ends the old ones. Raises what `exchange` raises."""
        self._send_exchange()

    def move_to(self, connection: Connection, *, by: User) -> None:
        """Makes the exchanged pair the candidate of this connection. Raises CannotUnseal."""
        with transaction.atomic():
            custody.receive_exchanged(connection, storage.columns_for(connection, self.pair), by=by)
            self.erase()

    def erase(self) -> None:
        """Erases the pair, from the database's files too; the row stays, with its outcome."""
        self.write(sealed_access=b"", sealed_refresh=b"", key_id="")
        transaction.on_commit(custody.scrub_files)

    def _send_exchange(self) -> Exchanged:
        refresh_token = storage.refresh_token(self.pair)
        self.write(exchange_sent_at=Now(), lease_until=Now() + leases.LEASE)
        try:
            answer = lease.send_exchange(refresh_token)
        except Unreachable as error:
            if lease.never_arrived(error):
                self.write(exchange_sent_at=None)
            raise
        diagnosis.note_accepted_exchange()
        return answer

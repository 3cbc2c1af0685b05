"""Disconnect that means it: the tokens are ended at SnapInspect, if it answers, and erased here in any case.

SnapInspect documents no way to revoke a token. But an exchange kills both tokens, so one last exchange, whose answer is
thrown away, also kills every copy in backups and logs.
"""

import time

from django.db import transaction
from django.db.models import F

from accounts import audit
from accounts.models import User
from integrations.models import Connection, ExplorerAnswer, PanelAnswer, State, TokenPair
from integrations.tokens import custody, lease

LAST_CALLS = 8.0  # seconds for all of them; whatever they do, the tokens are erased within ten


def disconnect(connection: Connection, *, by: User) -> bool:
    """Erases the connection's access; returns whether SnapInspect has ended it, too.

    A process that is killed on the way leaves a connection that says Disconnected: the sweep erases what it
    still keeps.
    """
    mark_disconnected(connection, by=by)
    give_up_at = time.monotonic() + LAST_CALLS
    ended = []
    try:
        for held in lease.claim_for_revocation(connection):
            if held is None:
                ended.append(False)
                continue
            with held:
                ended.append(held.revoke(deadline=max(0.1, give_up_at - time.monotonic())))
    finally:
        with transaction.atomic():
            lease.lock_connection(connection)
            custody.erase_all(connection)
            _forget_answers(connection)
            # A worker may have connected it anew while we waited for SnapInspect; who disconnects has the last word.
            connection.refresh_from_db()
            connection.move_to(State.DISCONNECTED, next_check_at=None, disconnects=F("disconnects") + 1)
    proven = bool(ended) and all(ended)
    audit.record("tokens.erased", customer=connection.customer, subject=connection.code, ended_at_snapinspect=proven)
    return proven


def mark_disconnected(connection: Connection, *, by: User) -> None:
    """From here on it is disconnected, and its tokens are on their way out."""
    with transaction.atomic():
        connection.move_to(
            State.DISCONNECTED,
            next_check_at=None,
            failed_checks=0,
            refused_at=None,
            disconnects=F("disconnects") + 1,
        )
        custody.schedule_erasure(connection)
        audit.record("connection.disconnected", customer=connection.customer, actor=by, subject=connection.code)


def require_reconnect(connection: Connection, *, by: User) -> None:
    """Ends the access as a disconnect does, and has the customer's owners told that they must connect again.

    What arrives meanwhile is kept and waits. A process that is killed on the way leaves a plain disconnect.
    """
    audit.record("connection.reconnect_required", customer=connection.customer, actor=by, subject=connection.code)
    disconnect(connection, by=by)
    connection.move_to(State.NEEDS_RECONNECT, error_kind="reconnect_required", next_check_at=None)


def erase_overdue(pk: int) -> None:
    """Erases a pair that the process which disconnected it did not live to erase."""
    row = TokenPair.objects.due_for_erasure().select_related("connection__customer").filter(pk=pk).first()
    if row is None:
        return
    custody.erase_pair(row)
    _forget_answers(row.connection)
    audit.record(
        "tokens.erased", customer=row.connection.customer, subject=row.connection.code, ended_at_snapinspect=False
    )


def _forget_answers(connection: Connection) -> None:
    """Deletes what pages kept of this connection's data; the record of who asked what stays."""
    PanelAnswer.objects.filter(connection=connection).delete()
    ExplorerAnswer.objects.filter(call__connection=connection).delete()

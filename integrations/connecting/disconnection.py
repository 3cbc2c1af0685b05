"""Disconnects: revokes the tokens at SnapInspect, if it answers, and erases them here in any case.

SnapInspect documents no way to revoke a token. But an exchange invalidates both tokens, so one last exchange, whose
answer is discarded, also invalidates every copy in backups and logs.
"""

import time

from django.db import transaction
from django.db.models import F

from accounts import audit
from accounts.models import User
from integrations.models import Connection, ExplorerAnswer, PanelAnswer, State, TokenPair
from integrations.tokens import custody, lease

# For all last exchanges together: two seconds before another process may erase the tokens.
REVOCATION_SECONDS = custody.ERASED_AFTER_DISCONNECT.total_seconds() - 2.0


def disconnect(connection: Connection, *, by: audit.Actor) -> bool:
    """Erases the connection's tokens; returns whether SnapInspect has revoked all of them.

    If this process is killed meanwhile, the connection is *Disconnected*, and `erase_overdue` erases its tokens.
    """
    mark_disconnected(connection, by=by)
    give_up_at = time.monotonic() + REVOCATION_SECONDS
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
            _delete_answers(connection)
            # A worker may have connected it again while we waited for SnapInspect: the disconnect wins.
            connection.refresh_from_db()
            connection.move_to(State.DISCONNECTED, next_check_at=None, disconnects=F("disconnects") + 1)
    proven = bool(ended) and all(ended)
    audit.record("tokens.erased", customer=connection.customer, subject=connection.code, ended_at_snapinspect=proven)
    return proven


def mark_disconnected(connection: Connection, *, by: audit.Actor) -> None:
    """Moves it to *Disconnected* and schedules the erasure of its tokens."""
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
    """Disconnects, and then moves it to *Needs reconnect*, so that the customer's people are mailed; events wait.

    If this process is killed meanwhile, the connection stays *Disconnected*.
    """
    audit.record("connection.reconnect_required", customer=connection.customer, actor=by, subject=connection.code)
    disconnect(connection, by=by)
    connection.move_to(State.NEEDS_RECONNECT, error_kind="reconnect_required", next_check_at=None)


def erase_overdue(pk: int) -> None:
    """Erases a pair whose disconnect was interrupted."""
    row = TokenPair.objects.due_for_erasure().select_related("connection__customer").filter(pk=pk).first()
    if row is None:
        return
    custody.erase_pair(row)
    _delete_answers(row.connection)
    audit.record(
        "tokens.erased", customer=row.connection.customer, subject=row.connection.code, ended_at_snapinspect=False
    )


def _delete_answers(connection: Connection) -> None:
    """Deletes stored answers with this connection's data; the records of explorer calls stay."""
    PanelAnswer.objects.filter(connection=connection).delete()
    ExplorerAnswer.objects.filter(call__connection=connection).delete()

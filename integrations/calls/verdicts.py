"""Records on a connection what a call proved about it."""

from django.db.models.functions import Now

from accounts import audit
from integrations.models import SETUP_ERRORS, Connection, State, backoff
from integrations.tokens import exchange_limit
from integrations.tokens.proof import Verdict

# Errors that say nothing about the connection: no call was made.
NO_CALL = frozenset({"busy", "nothing_kept"})


def record(connection: Connection, verdict: Verdict) -> None:
    """Updates state and next check by this verdict. `renewal` has recorded a proven refusal already."""
    connection.refresh_from_db()
    before = connection.state
    if before == State.DISCONNECTED or verdict.refused or verdict.error_kind in NO_CALL:
        return
    if verdict.profile is not None:
        connection.move_to(
            State.CONNECTED, proved_at=Now(), failed_checks=0, next_check_at=Now() + backoff.until_idle_check()
        )
        exchange_limit.note_accepted(connection)
    else:
        _record_failure(connection, verdict)
    if connection.state not in {before, State.DISCONNECTED}:
        audit.record(
            f"connection.{connection.state}",
            customer=connection.customer,
            subject=connection.code,
            error=verdict.error_kind,
        )


def _record_failure(connection: Connection, verdict: Verdict) -> None:
    state = State.SETUP_PROBLEM if verdict.error_kind in SETUP_ERRORS else State.TROUBLE
    if connection.state == State.NEEDS_RECONNECT:
        state = State.NEEDS_RECONNECT  # it still needs a person, whatever else is wrong
    failures = min(connection.failed_checks + 1, 1000)
    connection.move_to(
        state,
        error_kind=verdict.error_kind,
        failed_checks=failures,
        next_check_at=Now() + backoff.wait_after_outage(failures, verdict.retry_after),
    )

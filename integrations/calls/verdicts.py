"""Records on a connection what a call proved about it."""

from django.db.models.functions import Now

from accounts import audit
from integrations.models import SETUP_ERRORS, Connection, State, backoff
from integrations.tokens import circuit_breaker, renewal
from integrations.tokens.proof import Verdict


def record(connection: Connection, verdict: Verdict) -> None:
    """Updates state and next check by this verdict. `renewal` has recorded a proven refusal already."""
    connection.refresh_from_db()
    before = connection.state
    if before == State.DISCONNECTED or verdict.refused:
        return
    if verdict.profile is not None:
        connection.move_to(
            State.CONNECTED, proved_at=Now(), failed_checks=0, next_check_at=Now() + backoff.until_idle_check()
        )
        circuit_breaker.record_success(connection)
    else:
        _record_failure(connection, verdict)
    if connection.state not in {before, State.DISCONNECTED}:
        audit.record(
            f"connection.{connection.state}",
            customer=connection.customer,
            subject=connection.code,
            error=verdict.error_kind,
        )


def record_failed_renewal(connection: Connection, problem: renewal.NotRenewed) -> None:
    """Records a renewal that failed, unless only a person can help (`renewal` has recorded that) or nobody has to."""
    if not problem.needs_person and problem.error_kind not in {"busy", "nothing_kept"}:
        record(connection, Verdict(error_kind=problem.error_kind))


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

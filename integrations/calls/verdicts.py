"""Records on a connection what a call proved about it."""

from datetime import timedelta
from typing import Any

from django.db.models import Exists
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from accounts.kept_queries import WAIT, KeptUpdate
from integrations.models import SETUP_ERRORS, Connection, State, backoff
from integrations.tokens import exchange_limit
from integrations.tokens.proof import Verdict

# Errors that say nothing about the connection: no call was made.
NO_CALL = frozenset({"busy", "nothing_kept"})


def _proved(wait: timedelta) -> dict[str, Any]:
    """What a proof changes besides the state; the next check is due after this wait."""
    return {"proved_at": Now(), "failed_checks": 0, "next_check_at": Now() + wait}


# For a connection that was well before: there is no incident that a proof ends, no refusal, no limit on exchanges, so
# there is nobody to tell. Under these conditions `move_to` would change the same columns, in three statements more.
_go_on = KeptUpdate(
    lambda pk: Connection.objects.filter(
        ~Exists(exchange_limit.limited()),
        pk=pk,
        state=State.CONNECTED,
        error_kind="",
        incident_since=None,
        **exchange_limit.ACCEPTED,
    ),
    **_proved(WAIT),
)


def record(connection: Connection, verdict: Verdict) -> None:
    """Updates state and next check by this verdict. `renewal` has recorded a proven refusal already.

    A proof that a connection is still well is one statement, and is not read back into `connection`.
    """
    if verdict.profile is not None and _is_still_well(connection):
        return
    connection.refresh()
    before = connection.state
    if before == State.DISCONNECTED or verdict.refused or verdict.error_kind in NO_CALL:
        return
    if verdict.profile is not None:
        connection.move_to(
            State.CONNECTED,
            **_proved(backoff.until_idle_check()),
            **exchange_limit.ACCEPTED,
        )
        exchange_limit.end_if_over()
    elif not _is_outdated(connection, verdict):
        _record_failure(connection, verdict)
    if connection.state not in {before, State.DISCONNECTED}:
        audit.record(
            f"connection.{connection.state}",
            customer=connection.customer,
            subject=connection.code,
            error=verdict.error_kind,
        )


def _is_still_well(connection: Connection) -> bool:
    """Whether it was well before, by its row too; then its proof is recorded."""
    return connection.state == State.CONNECTED and _go_on(connection.pk, backoff.until_idle_check()) == 1


def _is_outdated(connection: Connection, verdict: Verdict) -> bool:
    """Whether another call has proved or changed the connection's state since this one, which failed, began."""
    began = timezone.now() - verdict.duration
    return connection.state_since > began or (connection.proved_at is not None and connection.proved_at > began)


def _record_failure(connection: Connection, verdict: Verdict) -> None:
    state = State.SETUP_PROBLEM if verdict.error_kind in SETUP_ERRORS else State.TROUBLE
    error_kind = verdict.error_kind
    if connection.state == State.NEEDS_RECONNECT:
        # It still needs a person, for the same reason, whatever else is wrong.
        state, error_kind = State.NEEDS_RECONNECT, connection.error_kind
    connection.move_to(
        state,
        error_kind=error_kind,
        only_from=State(connection.state),
        failed_checks=min(connection.failed_checks + 1, 1000),
        next_check_at=Now() + backoff.wait_after_outage(connection.failed_checks, verdict.retry_after),
    )

"""Asks `/user` with a connection's token, and writes on the connection what the answer proves."""

import json
from datetime import timedelta

from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations.calls import limits
from integrations.models import SETUP_ERRORS, Connection, ConnectionTest, State, TokenPair, backoff
from integrations.tokens import circuit_breaker, custody, proof, renewal
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.proof import Verdict

# While one worker asks about a connection, the others leave it alone.
CHECK_CLAIM = timedelta(seconds=50)


def check(connection: Connection) -> Verdict:
    """Asks `/user` with the pair in use, renews it if it is refused, and records on the connection what that proves."""
    try:
        client, in_use = custody.client_and_pair(connection)
        verdict = proof.check(client)
        if verdict.refused:
            renewal.renew(connection, refused=in_use)
            client, in_use = custody.client_and_pair(connection)
            verdict = proof.check(client)
        if verdict.profile is not None:
            custody.mark_proved(in_use)
    except renewal.NotRenewed as problem:
        verdict = Verdict(error_kind=problem.error_kind, refused=problem.needs_person)
    except custody.NoTokens:
        return Verdict(error_kind="nothing_kept")
    except CannotUnseal:
        verdict = Verdict(error_kind="cannot_unseal")
    conclude(connection, verdict)
    return verdict


def routine_check(pk: int) -> None:
    """Checks one connection that is due, unless another worker is at it, or the breaker lets nobody ask."""
    claimed = Connection.objects.due_for_check().filter(pk=pk).update(next_check_at=Now() + CHECK_CLAIM)
    if claimed != 1:
        return
    connection = Connection.objects.select_related("customer").get(pk=pk)
    if custody.current_pair(connection) is None:
        Connection.objects.filter(pk=pk).exclude(pairs__role=TokenPair.Role.CURRENT).update(next_check_at=None)
    elif circuit_breaker.allows_check(connection):
        check(connection)


def look(connection: Connection) -> Verdict:
    """What `/user` answers right now, for somebody who only looks, see `peek`; "busy" is one of the kinds of error."""
    try:
        with limits.slot(connection.pk):
            verdict = proof.check(custody.client_for(connection))
    except limits.Busy:
        return Verdict(error_kind="busy")
    except custody.NoTokens:
        return Verdict(error_kind="nothing_kept")
    except CannotUnseal:
        verdict = Verdict(error_kind="cannot_unseal")
    if verdict.refused:
        connection.check_soon()
    else:
        conclude(connection, verdict)
    return verdict


def test(connection: Connection, *, by: User) -> ConnectionTest | None:
    """A check that a person asked for, kept with its answer so that its page can be read again.

    None, and no call, once people have asked for too many of them within a minute. Of the kind "busy", and no call
    either, while too many people wait for SnapInspect already.
    """
    if not connection.claim_test():
        return None
    try:
        with limits.slot(connection.pk):
            verdict = check(connection)
    except limits.Busy:
        verdict = Verdict(error_kind="busy")
    profile = verdict.profile
    kept = ConnectionTest.objects.create(
        connection=connection,
        by=by,
        error_kind=verdict.error_kind,
        duration=verdict.duration,
        company_id=(profile.company_id or "") if profile else "",
        name=(profile.name or "") if profile else "",
        answer=profile.details if profile and len(json.dumps(profile.details)) <= ConnectionTest.MOST_KEPT else None,
    )
    old = ConnectionTest.objects.filter(connection=connection).order_by("-pk")[ConnectionTest.KEPT_PER_CONNECTION :]
    ConnectionTest.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
    audit.record(
        "connection.tested", customer=connection.customer, actor=by, subject=connection.code, error=verdict.error_kind
    )
    return kept


def replace_tokens(connection: Connection, *, by: User) -> str:
    """Exchanges the pair in use because this person asked; returns the kind of error, empty when it worked."""
    try:
        with limits.slot(connection.pk):
            audit.record("tokens.replacing", customer=connection.customer, actor=by, subject=connection.code)
            renewal.replace(connection)
            return check(connection).error_kind
    except limits.Busy:
        return "busy"
    except renewal.NotRenewed as problem:
        note_trouble(connection, problem)
        return problem.error_kind
    except CannotUnseal:
        conclude(connection, Verdict(error_kind="cannot_unseal"))
        return "cannot_unseal"


def conclude(connection: Connection, verdict: Verdict) -> None:
    """Writes down what an answer proves. A proven refusal has been written down by `renewal` already."""
    connection.refresh_from_db()
    before = connection.state
    if before == State.DISCONNECTED or verdict.refused:
        return
    if verdict.profile is not None:
        connection.move_to(
            State.CONNECTED,
            proved_at=Now(),
            failed_checks=0,
            next_check_at=Now() + backoff.until_idle_check(),
        )
        circuit_breaker.record_success(connection)
    else:
        _set_back(connection, verdict.error_kind, verdict.retry_after)
    if connection.state not in {before, State.DISCONNECTED}:
        audit.record(
            f"connection.{connection.state}",
            customer=connection.customer,
            subject=connection.code,
            error=verdict.error_kind,
        )


def note_trouble(connection: Connection, problem: renewal.NotRenewed) -> None:
    """What a call other than a check has learnt: that something is wrong which a person need not mend."""
    if not problem.needs_person and problem.error_kind not in {"busy", "nothing_kept"}:
        conclude(connection, Verdict(error_kind=problem.error_kind))


def _set_back(connection: Connection, error_kind: str, retry_after: float) -> None:
    """Having trouble, or a setup problem; a connection that needs a person still does, whatever else is wrong."""
    state = State.SETUP_PROBLEM if error_kind in SETUP_ERRORS else State.TROUBLE
    if connection.state == State.NEEDS_RECONNECT:
        state = State.NEEDS_RECONNECT
    failures = min(connection.failed_checks + 1, 1000)
    connection.move_to(
        state,
        error_kind=error_kind,
        failed_checks=failures,
        next_check_at=Now() + backoff.wait_after_outage(failures, retry_after),
    )

"""Calls on a customer's behalf, and what their answers say about the connection.

`get()` is how everything else calls SnapInspect's API. A refused token is renewed behind its back, once for all
callers; what remains is an answer, or NoAnswer with a kind that pages can put into words.
"""

import threading
from datetime import timedelta

from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations import breaker, patience, proving, renewal, tokens
from integrations.encryption import CannotUnseal
from integrations.models import SETUP_ERRORS, Check, Connection, State, TokenPair
from integrations.proving import Verdict
from integrations.snapinspect.client import Answer
from integrations.snapinspect.errors import BadPath, SnapInspectError, TokenRefused

# While one worker asks about a connection, the others leave it alone.
CHECK_CLAIM = timedelta(seconds=50)


LOOKS_AT_ONCE = 3
_looks = threading.BoundedSemaphore(LOOKS_AT_ONCE)


class NoAnswer(Exception):
    """A call that brought nothing. `error_kind` is fit for data and pages; `is_outage`: the same call may do later."""

    def __init__(self, error_kind: str, *, is_outage: bool, status: int | None = None) -> None:
        super().__init__(error_kind)
        self.error_kind = error_kind
        self.is_outage = is_outage
        self.status = status


def get(connection: Connection, path: str) -> Answer:
    """What SnapInspect's API answers at this path, for this connection's customer.

    Raises NoAnswer; BadPath for a path that would leave the API base.
    """
    try:
        client, in_use = tokens.lend(connection)
        try:
            return client.get(path)
        except TokenRefused:
            renewal.renew(connection, refused=in_use)
        client, in_use = tokens.lend(connection)
        answer = client.get(path)
        tokens.note_proof(in_use)
        return answer
    except BadPath:
        raise
    except SnapInspectError as error:
        outage = error.status is None or error.status in {429, 500, 502, 503, 504}
        raise NoAnswer(error.kind, is_outage=outage, status=error.status) from None
    except renewal.NotRenewed as problem:
        _trouble(connection, problem)
        raise NoAnswer(problem.error_kind, is_outage=not problem.needs_person) from None
    except tokens.NothingKept:
        raise NoAnswer("nothing_kept", is_outage=False) from None
    except CannotUnseal:
        _conclude(connection, Verdict(error_kind="cannot_unseal"))
        raise NoAnswer("cannot_unseal", is_outage=True) from None


def check(connection: Connection) -> Verdict:
    """Asks `/user` with the pair in use, renews it if it is refused, and records on the connection what that proves."""
    try:
        client, in_use = tokens.lend(connection)
        verdict = proving.ask(client)
        if verdict.refused:
            renewal.renew(connection, refused=in_use)
            client, in_use = tokens.lend(connection)
            verdict = proving.ask(client)
        if verdict.profile is not None:
            tokens.note_proof(in_use)
    except renewal.NotRenewed as problem:
        verdict = Verdict(error_kind=problem.error_kind, refused=problem.needs_person)
    except tokens.NothingKept:
        return Verdict(error_kind="nothing_kept")
    except CannotUnseal:
        verdict = Verdict(error_kind="cannot_unseal")
    _conclude(connection, verdict)
    return verdict


def routine_check(pk: int) -> None:
    """Checks one connection that is due, unless another worker is at it, or the breaker lets nobody ask."""
    claimed = Connection.objects.due_for_check().filter(pk=pk).update(next_check_at=Now() + CHECK_CLAIM)
    if claimed != 1:
        return
    connection = Connection.objects.select_related("customer").get(pk=pk)
    if tokens.in_use(connection) is None:
        Connection.objects.filter(pk=pk).exclude(pairs__role=TokenPair.Role.CURRENT).update(next_check_at=None)
    elif breaker.lets_ask(connection):
        check(connection)


def look(connection: Connection) -> Verdict:
    """What `/user` answers right now, for somebody who only looks: a refused token is left to a worker.

    At most LOOKS_AT_ONCE in this process: people who look while SnapInspect hangs must not use up the threads that
    webhooks and other pages need. Beyond that the verdict's error is "busy".
    """
    if not _looks.acquire(blocking=False):
        return Verdict(error_kind="busy")
    try:
        verdict = proving.ask(tokens.client_for(connection))
    except tokens.NothingKept:
        return Verdict(error_kind="nothing_kept")
    except CannotUnseal:
        verdict = Verdict(error_kind="cannot_unseal")
    finally:
        _looks.release()
    if verdict.refused:
        connection.ask_soon()
    else:
        _conclude(connection, verdict)
    return verdict


def test(connection: Connection, *, by: User) -> Check:
    """A check that a person asked for, kept with its answer so that its page can be read again."""
    verdict = check(connection)
    profile = verdict.profile
    kept = Check.objects.create(
        connection=connection,
        by=by,
        error_kind=verdict.error_kind,
        duration=verdict.duration,
        company_id=(profile.company_id or "") if profile else "",
        name=(profile.name or "") if profile else "",
        answer=profile.details if profile else None,
    )
    old = Check.objects.filter(connection=connection).order_by("-pk")[Check.KEPT_PER_CONNECTION :]
    Check.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
    audit.record(
        "connection.tested", customer=connection.customer, actor=by, subject=connection.code, error=verdict.error_kind
    )
    return kept


def replace_tokens(connection: Connection, *, by: User) -> str:
    """Exchanges the pair in use because this person asked; returns the kind of error, empty when it worked."""
    audit.record("tokens.replacing", customer=connection.customer, actor=by, subject=connection.code)
    try:
        renewal.replace(connection)
    except renewal.NotRenewed as problem:
        _trouble(connection, problem)
        return problem.error_kind
    except CannotUnseal:
        _conclude(connection, Verdict(error_kind="cannot_unseal"))
        return "cannot_unseal"
    return check(connection).error_kind


def _conclude(connection: Connection, verdict: Verdict) -> None:
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
            next_check_at=Now() + patience.until_idle_check(),
        )
        breaker.works_again(connection)
    else:
        _set_back(connection, verdict.error_kind)
    if connection.state not in {before, State.DISCONNECTED}:
        audit.record(
            f"connection.{connection.state}",
            customer=connection.customer,
            subject=connection.code,
            error=verdict.error_kind,
        )


def _trouble(connection: Connection, problem: renewal.NotRenewed) -> None:
    """What a call other than a check has learnt: that something is wrong which a person need not mend."""
    if not problem.needs_person and problem.error_kind not in {"busy", "nothing_kept"}:
        _conclude(connection, Verdict(error_kind=problem.error_kind))


def _set_back(connection: Connection, error_kind: str) -> None:
    """Having trouble, or a setup problem; a connection that needs a person still does, whatever else is wrong."""
    state = State.SETUP_PROBLEM if error_kind in SETUP_ERRORS else State.TROUBLE
    if connection.state == State.NEEDS_RECONNECT:
        state = State.NEEDS_RECONNECT
    failures = min(connection.failed_checks + 1, 1000)
    connection.move_to(
        state,
        error_kind=error_kind,
        failed_checks=failures,
        next_check_at=Now() + patience.backoff(failures),
    )

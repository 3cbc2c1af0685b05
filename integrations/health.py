"""Calls on a customer's behalf, and what their answers say about the connection.

`get()` is how everything else calls SnapInspect's API. A refused token is renewed behind its back, once for all
callers; what remains is an answer, or NoAnswer with a kind that pages can put into words.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations import breaker, limits, patience, proving, renewal, tokens
from integrations.encryption import CannotUnseal
from integrations.models import SETUP_ERRORS, Check, Connection, State, TokenPair
from integrations.proving import Verdict
from integrations.snapinspect.client import Answer, Shown
from integrations.snapinspect.errors import BadPath, SnapInspectError, TokenRefused

# While one worker asks about a connection, the others leave it alone.
CHECK_CLAIM = timedelta(seconds=50)
# What a person who waits for a page is worth waiting for.
LOOK_SECONDS = 10.0
LOOK_BYTES = 2_000_000


class NoAnswer(Exception):
    """A call that brought nothing. `error_kind` is fit for data and pages; `is_outage`: the same call may do later,
    and not before `retry_after` seconds if SnapInspect has said so."""

    def __init__(
        self, error_kind: str, *, is_outage: bool, status: int | None = None, retry_after: float = 0.0
    ) -> None:
        super().__init__(error_kind)
        self.error_kind = error_kind
        self.is_outage = is_outage
        self.status = status
        self.retry_after = retry_after


def get(connection: Connection, path: str, *, deadline: float | None = None) -> Answer:
    """What SnapInspect's API answers at this path, for this connection's customer.

    deadline: seconds for a call, retries included; None for the client's own. Raises NoAnswer; BadPath for a path that
    would leave the API base.
    """
    with _as_no_answer(connection):
        client, in_use = tokens.lend(connection)
        try:
            return client.get(path, deadline=deadline)
        except TokenRefused:
            renewal.renew(connection, refused=in_use)
        client, in_use = tokens.lend(connection)
        answer = client.get(path, deadline=deadline)
        tokens.note_proof(in_use)
        return answer


def show(connection: Connection, path: str) -> Shown:
    """Whatever SnapInspect answers at this path, errors included, for a person who waits.

    A 401 is dealt with as in `get`. Raises NoAnswer without an answer (at once, and of the kind "busy", when too
    many people wait already); BadPath.
    """
    with _as_no_answer(connection), limits.place(connection.pk):
        client, in_use = tokens.lend(connection)
        shown = client.show(path, deadline=LOOK_SECONDS, max_bytes=LOOK_BYTES)
        if shown.status == 401:
            renewal.renew(connection, refused=in_use)
            client, in_use = tokens.lend(connection)
            shown = client.show(path, deadline=LOOK_SECONDS, max_bytes=LOOK_BYTES)
        if shown.status < 300:
            tokens.note_proof(in_use)
        return shown


def peek(connection: Connection, path: str) -> Answer:
    """Like `get`, for somebody who only looks: bounded as in `show`, and a refused token is left to a worker."""
    with _as_no_answer(connection), limits.place(connection.pk):
        try:
            return tokens.client_for(connection).get(path, deadline=LOOK_SECONDS, max_bytes=LOOK_BYTES)
        except TokenRefused:
            connection.ask_soon()
            raise


@contextmanager
def _as_no_answer(connection: Connection) -> Iterator[None]:
    """Turns whatever keeps a call from being answered into NoAnswer."""
    try:
        yield
    except BadPath:
        raise
    except SnapInspectError as error:
        outage = error.status is None or error.status in {429, 500, 502, 503, 504}
        wait = error.retry_after or 0.0
        raise NoAnswer(error.kind, is_outage=outage, status=error.status, retry_after=wait) from None
    except renewal.NotRenewed as problem:
        _trouble(connection, problem)
        raise NoAnswer(problem.error_kind, is_outage=not problem.needs_person) from None
    except limits.Busy:
        raise NoAnswer("busy", is_outage=True) from None
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
    """What `/user` answers right now, for somebody who only looks, see `peek`; "busy" is one of the kinds of error."""
    try:
        with limits.place(connection.pk):
            verdict = proving.ask(tokens.client_for(connection))
    except limits.Busy:
        return Verdict(error_kind="busy")
    except tokens.NothingKept:
        return Verdict(error_kind="nothing_kept")
    except CannotUnseal:
        verdict = Verdict(error_kind="cannot_unseal")
    if verdict.refused:
        connection.ask_soon()
    else:
        _conclude(connection, verdict)
    return verdict


def test(connection: Connection, *, by: User) -> Check | None:
    """A check that a person asked for, kept with its answer so that its page can be read again.

    None, and no call, once people have asked for too many of them within a minute. Of the kind "busy", and no call
    either, while too many people wait for SnapInspect already.
    """
    if not connection.claim_test():
        return None
    try:
        with limits.place(connection.pk):
            verdict = check(connection)
    except limits.Busy:
        verdict = Verdict(error_kind="busy")
    profile = verdict.profile
    kept = Check.objects.create(
        connection=connection,
        by=by,
        error_kind=verdict.error_kind,
        duration=verdict.duration,
        company_id=(profile.company_id or "") if profile else "",
        name=(profile.name or "") if profile else "",
        answer=profile.details if profile and len(json.dumps(profile.details)) <= Check.MOST_KEPT else None,
    )
    old = Check.objects.filter(connection=connection).order_by("-pk")[Check.KEPT_PER_CONNECTION :]
    Check.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
    audit.record(
        "connection.tested", customer=connection.customer, actor=by, subject=connection.code, error=verdict.error_kind
    )
    return kept


def replace_tokens(connection: Connection, *, by: User) -> str:
    """Exchanges the pair in use because this person asked; returns the kind of error, empty when it worked."""
    try:
        with limits.place(connection.pk):
            audit.record("tokens.replacing", customer=connection.customer, actor=by, subject=connection.code)
            renewal.replace(connection)
            return check(connection).error_kind
    except limits.Busy:
        return "busy"
    except renewal.NotRenewed as problem:
        _trouble(connection, problem)
        return problem.error_kind
    except CannotUnseal:
        _conclude(connection, Verdict(error_kind="cannot_unseal"))
        return "cannot_unseal"


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
        _set_back(connection, verdict.error_kind, verdict.retry_after)
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
        next_check_at=Now() + patience.asked(failures, retry_after),
    )

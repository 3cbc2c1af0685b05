"""Health checks: asks `/user` with a connection's token and records the verdict on the connection."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.kept_queries import KeptQuery, KeptUpdate
from accounts.models import User
from integrations.calls import api_client, limits, verdicts
from integrations.models import Connection, ConnectionTest, TokenPair
from integrations.tokens import custody, proof, renewal
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.proof import Verdict

# For so long after one worker has begun a check, no other worker begins one of the same connection.
CHECK_CLAIM = timedelta(seconds=50)
# In place of a connection's code, for calls with tokens that no connection has yet.
NO_CONNECTION = "none"
# Seconds that a page waits for SnapInspect's answer before a worker does.
HURRY = 1.5

_claim = KeptUpdate(lambda pk: Connection.objects.due_for_check().filter(pk=pk), next_check_at=Now() + CHECK_CLAIM)


def _running_tests(connection: int) -> "QuerySet[ConnectionTest]":
    return ConnectionTest.objects.filter(connection=connection, error_kind=ConnectionTest.RUNNING)


_running = KeptQuery(lambda connection: _running_tests(connection).only("pk"))


def check(connection: Connection) -> Verdict:
    """The verdict on the pair in use, which is renewed if it is refused."""
    return _recorded(connection, api_client.ask_user)


def peek(connection: Connection) -> Verdict:
    """The verdict for a person who only looks: a refused token is left to a worker. Its kind may be "busy"."""
    verdict = _recorded(connection, api_client.peek_user)
    if verdict.refused:
        connection.check_soon()
    return verdict


def check_personal_token(token: str) -> Verdict:
    """The verdict on a token that somebody has typed, and that is stored nowhere. Its kind may be "busy"."""
    try:
        with limits.slot(NO_CONNECTION):
            return proof.check(custody.client_of_token(token), deadline=HURRY)
    except limits.Busy:
        return Verdict(error_kind="busy")


def routine_check(pk: int) -> None:
    """Checks one connection that is due, unless another worker does."""
    if _claim(pk) != 1:
        return
    connection = Connection.objects.with_customer(pk)
    if connection is None:
        return  # deleted since
    verdict = check(connection)
    if verdict.error_kind == "nothing_kept":
        Connection.objects.filter(pk=pk).exclude(pairs__role=TokenPair.Role.CURRENT).update(next_check_at=None)


def test(connection: Connection, *, by: audit.Actor, in_a_hurry: bool = False) -> ConnectionTest | None:
    """A check that a person asked for, stored with its answer for its page.

    in_a_hurry: without an answer within HURRY seconds the test is left to a worker, and is running until then.

    None, and no call, after too many tests within a minute. Of the kind "busy", and no call, while too many people wait
    for SnapInspect.
    """
    if not connection.claim_test():
        return None

    def ask(connection: Connection) -> Verdict:
        with limits.slot(connection.code):
            return api_client.ask_user(connection, deadline=HURRY if in_a_hurry else None)

    verdict = _verdict(connection, ask)
    if in_a_hurry and verdict.error_kind == "timeout":
        # It may only be slow: that proves nothing.
        verdict = Verdict(error_kind=ConnectionTest.RUNNING)
    else:
        verdicts.record(connection, verdict)
    kept = ConnectionTest.objects.create(connection=connection, by=audit.person(by), **_result(verdict))
    if kept.is_running:
        connection.check_soon()
    old = ConnectionTest.objects.filter(connection=connection).order_by("-pk")[ConnectionTest.KEPT_PER_CONNECTION :]
    ConnectionTest.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
    audit.record(
        "connection.tested", customer=connection.customer, actor=by, subject=connection.code, error=verdict.error_kind
    )
    return kept


def replace_tokens(connection: Connection, *, by: User) -> str:
    """Exchanges the current pair because this person asked; returns the kind of error, empty when it worked."""

    def replace_and_ask(connection: Connection) -> Verdict:
        with limits.slot(connection.code):
            audit.record("tokens.replacing", customer=connection.customer, actor=by, subject=connection.code)
            renewal.replace(connection)
            return api_client.ask_user(connection)

    return _recorded(connection, replace_and_ask).error_kind


def _result(verdict: Verdict) -> dict[str, Any]:
    """The columns of a test with this verdict."""
    profile = verdict.profile
    return {
        "error_kind": verdict.error_kind,
        "duration": verdict.duration,
        "company_id": (profile.company_id or "") if profile else "",
        "name": (profile.name or "") if profile else "",
        "answer": (
            profile.details if profile and len(json.dumps(profile.details)) <= ConnectionTest.MOST_KEPT else None
        ),
    }


def _recorded(connection: Connection, ask: Callable[[Connection], Verdict]) -> Verdict:
    """The verdict of `_verdict`, recorded on the connection, and as the result of its tests that are running."""
    verdict = _verdict(connection, ask)
    verdicts.record(connection, verdict)
    # Read first, by kept SQL: there hardly ever are any.
    if verdict.error_kind not in verdicts.NO_CALL and _running(connection.pk):
        _running_tests(connection.pk).update(**_result(verdict))
    return verdict


def _verdict(connection: Connection, ask: Callable[[Connection], Verdict]) -> Verdict:
    """The verdict that `ask` returns, or that its exception stands for."""
    try:
        return ask(connection)
    except limits.Busy:
        return Verdict(error_kind="busy")
    except custody.NoTokens:
        return Verdict(error_kind="nothing_kept")
    except renewal.NotRenewed as problem:
        return Verdict(error_kind=problem.error_kind, refused=problem.needs_person)
    except CannotUnseal:
        return Verdict(error_kind="cannot_unseal")

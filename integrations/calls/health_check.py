"""Health checks: asks `/user` with a connection's token and records the verdict on the connection."""

import json
from collections.abc import Callable
from datetime import timedelta

from django.db.models.functions import Now

from accounts import audit
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
            return proof.check(custody.client_of_token(token))
    except limits.Busy:
        return Verdict(error_kind="busy")


def routine_check(pk: int) -> None:
    """Checks one connection that is due, unless another worker does."""
    claimed = Connection.objects.due_for_check().filter(pk=pk).update(next_check_at=Now() + CHECK_CLAIM)
    if claimed != 1:
        return
    verdict = check(Connection.objects.select_related("customer").get(pk=pk))
    if verdict.error_kind == "nothing_kept":
        Connection.objects.filter(pk=pk).exclude(pairs__role=TokenPair.Role.CURRENT).update(next_check_at=None)


def test(connection: Connection, *, by: audit.Actor) -> ConnectionTest | None:
    """A check that a person asked for, stored with its answer for its page.

    None, and no call, after too many tests within a minute. Of the kind "busy", and no call, while too many people wait
    for SnapInspect.
    """
    if not connection.claim_test():
        return None
    verdict = _recorded(connection, _ask_in_slot)
    profile = verdict.profile
    kept = ConnectionTest.objects.create(
        connection=connection,
        by=audit.person(by),
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
    """Exchanges the current pair because this person asked; returns the kind of error, empty when it worked."""

    def replace_and_ask(connection: Connection) -> Verdict:
        with limits.slot(connection.code):
            audit.record("tokens.replacing", customer=connection.customer, actor=by, subject=connection.code)
            renewal.replace(connection)
            return api_client.ask_user(connection)

    return _recorded(connection, replace_and_ask).error_kind


def _ask_in_slot(connection: Connection) -> Verdict:
    with limits.slot(connection.code):
        return api_client.ask_user(connection)


def _recorded(connection: Connection, ask: Callable[[Connection], Verdict]) -> Verdict:
    """The verdict that `ask` returns, or that its exception stands for, recorded on the connection."""
    try:
        verdict = ask(connection)
    except limits.Busy:
        verdict = Verdict(error_kind="busy")
    except custody.NoTokens:
        verdict = Verdict(error_kind="nothing_kept")
    except renewal.NotRenewed as problem:
        verdict = Verdict(error_kind=problem.error_kind, refused=problem.needs_person)
    except CannotUnseal:
        verdict = Verdict(error_kind="cannot_unseal")
    verdicts.record(connection, verdict)
    return verdict

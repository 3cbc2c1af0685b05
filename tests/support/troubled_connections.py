"""Connections that fail: makes many, revokes their tokens, calls, and lets time pass."""

import secrets
from datetime import timedelta

from django.db import models, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.calls import api_client
from integrations.connecting import completion
from integrations.models import ConnectAttempt, Connection, ExchangeStatus, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody
from tests.support.clients import Sandbox

FIRST_COMPANY = 20_000


def connect(
    sandbox: Sandbox, customer: Customer, by: User, number: int, *, first: int = FIRST_COMPANY
) -> list[Connection]:
    """Makes connections of this customer with token pairs, each to a company of its own.

    `first`: the id of the first company; the others follow.
    """
    made = []
    for company in range(first, first + number):
        account = sandbox.control("POST", "accounts", {"company": company})["account"]
        granted = sandbox.grant(str(account))
        attempt = ConnectAttempt.objects.create(
            state_hash=secrets.token_hex(), session_hash="", user=by, customer=customer, issued_at=Now()
        )
        received = token_pair.TokenPair(granted["access_token"], granted["refresh_token"])
        with transaction.atomic():
            made.append(custody.receive(attempt, received))
        completion.finish(TokenPair.objects.get(connection=made[-1]).pk)
        made[-1].refresh_from_db()
    return made


def pass_time(passed: timedelta) -> None:
    """Moves all stored times back by this much."""
    for model in (Connection, TokenPair, ExchangeStatus):
        moments = [field.name for field in model._meta.fields if isinstance(field, models.DateTimeField)]
        model._default_manager.update(**{name: F(name) - passed for name in moments})


def work_until_idle() -> None:
    """Works until nothing is due, as workers do."""
    for _ in range(1000):
        if not jobs.due():
            return
        jobs.work_off()
    raise AssertionError("the work never ends")


def refuse(sandbox: Sandbox) -> None:
    """Revokes all access tokens at SnapInspect; the refresh tokens still work."""
    sandbox.control("POST", "revoke_all", {"kind": "access"})


def fails(connection: Connection, path: str = "user") -> api_client.NoAnswer:
    """Makes a call that must fail. Returns its failure."""
    try:
        api_client.get(connection, path)
    except api_client.NoAnswer as failure:
        return failure
    raise AssertionError("the call was answered")


def state(connection: Connection) -> str:
    return Connection.objects.get(pk=connection.pk).state


def newest_live(sandbox: Sandbox) -> str:
    """The fingerprint of the access token that SnapInspect gave out last."""
    live = [token["token"] for token in sandbox.tokens() if token["live"] and token["kind"] == "access"]
    return token_pair.fingerprint(live[-1])

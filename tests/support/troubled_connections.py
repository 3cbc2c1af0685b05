"""Connections in trouble: many at once, refused, called, and time that passes for all of them."""

import secrets
from datetime import timedelta

from django.db import models, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.calls import api_client
from integrations.connecting import completion
from integrations.models import CircuitBreaker, ConnectAttempt, Connection, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody
from tests.support.clients import Sandbox

FIRST_COMPANY = 20_000


def connect(
    sandbox: Sandbox, customer: Customer, by: User, number: int, *, first: int = FIRST_COMPANY
) -> list[Connection]:
    """So many connections of this customer, with the pairs that they were given.

    Each is to a company of its own; `first` is the number of the first of them.
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
    """Everything that was written down lies so much further back."""
    for model in (Connection, TokenPair, CircuitBreaker):
        moments = [field.name for field in model._meta.fields if isinstance(field, models.DateTimeField)]
        model._default_manager.update(**{name: F(name) - passed for name in moments})


def work_until_idle() -> None:
    """What the workers do until nothing is due; connections that wait for their turn are left alone."""
    for _ in range(1000):
        if not jobs.due():
            return
        jobs.drain.func()
    raise AssertionError("the work never ends")


def refuse(sandbox: Sandbox) -> None:
    """Access tokens are ended at SnapInspect; the refresh tokens still work."""
    sandbox.control("POST", "revoke_all", {"kind": "access"})


def fails(connection: Connection, path: str = "user") -> api_client.NoAnswer:
    """Calls, which must not bring an answer; returns why."""
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

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
from integrations.tokens import custody, storage
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


def connect_many(sandbox: Sandbox, customer: Customer, by: User, number: int) -> list[Connection]:
    """Makes connections as `connect` does. Only the first goes through the steps, the others copy its rows."""
    (first,) = connect(sandbox, customer, by, 1)
    pair = TokenPair.objects.get(connection=first)
    shared = {field.attname: getattr(first, field.attname) for field in Connection._meta.concrete_fields}
    shared_by_pairs = {field.attname: getattr(pair, field.attname) for field in TokenPair._meta.concrete_fields}
    for own in ("id", "code", "company_id", "company_name"):
        del shared[own]
    for own in ("id", "connection_id"):
        del shared_by_pairs[own]
    companies = range(FIRST_COMPANY + 1, FIRST_COMPANY + number)
    others = Connection.objects.bulk_create(
        Connection(company_id=str(company), company_name=f"Company {company}", **shared) for company in companies
    )
    pairs = []
    for connection, company in zip(others, companies, strict=True):
        account = sandbox.control("POST", "accounts", {"company": company})["account"]
        granted = sandbox.grant(str(account))
        received = token_pair.TokenPair(granted["access_token"], granted["refresh_token"])
        columns = {**shared_by_pairs, **storage.columns(received, connection)}
        pairs.append(TokenPair(connection=connection, **columns))
    TokenPair.objects.bulk_create(pairs)
    return [first, *others]


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

"""Lengths that several modules have to agree on, without importing each other."""

import json
from dataclasses import asdict

import pytest
from django.db.models import Field, Model

from integrations.models import Connection, GuestTokenPair, LinkedUser, TokenPair
from integrations.sandbox import tokens as sandbox_tokens
from integrations.snapinspect import json_answers, profile, token_pair
from integrations.tokens import encryption, lease, spool, storage


def length(model: type[Model], column: str) -> int:
    field = model._meta.get_field(column)
    assert isinstance(field, Field) and field.max_length
    return field.max_length


@pytest.mark.parametrize("model", [TokenPair, GuestTokenPair])
def test_columns_hold_a_fingerprint_and_a_key_id(model: type[Model]) -> None:
    made = token_pair.fingerprint("token")
    assert length(model, "fingerprint") == len(made)
    assert length(model, "key_id") == len(encryption.key_ids()[0])


def test_the_stand_in_shows_the_same_fingerprints() -> None:
    assert sandbox_tokens.fingerprint("token") == token_pair.fingerprint("token")


def test_columns_hold_what_is_read_from_user_and_webhooks() -> None:
    texts = {length(Connection, name) for name in ("company_name", "account_name", "account_email")}
    assert texts == {length(LinkedUser, "name")} == {profile.LONGEST_TEXT}
    assert length(Connection, "company_id") == json_answers.MAX_ID_DIGITS
    users = {length(LinkedUser, "vendor_user_id"), length(GuestTokenPair, "vendor_user_id")}
    assert users == {profile.LONGEST_USER_ID}


def test_the_longest_tokens_fit_into_what_an_exchange_reserves() -> None:
    longest = "t" * token_pair.LONGEST_TOKEN
    connection = Connection(pk=1, customer_id=1)
    sealed = storage.columns(token_pair.TokenPair(longest, longest), connection)
    entry = storage.to_spool(TokenPair(pk=1, connection=connection), sealed)
    assert len(sealed["sealed_access"]) + len(sealed["sealed_refresh"]) <= lease.FILLER_BYTES
    assert len(json.dumps(asdict(entry))) <= spool.RESERVED_BYTES

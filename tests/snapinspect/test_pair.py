"""Secrets do not show themselves."""

import copy
import json
import pickle

import pytest

from integrations.snapinspect.authorization import read_response
from integrations.snapinspect.client import Client
from integrations.snapinspect.exchange_call import ClientCredentials, Exchanged
from integrations.snapinspect.token_pair import TokenPair, fingerprint, is_token

from .remotes import ACCESS, REFRESH, SECRET, SECRETS

PAIR = TokenPair(ACCESS, REFRESH)
HOLDERS = [
    PAIR,
    ClientCredentials("our-app", SECRET),
    Exchanged(PAIR, True),
    read_response(f"access_token={ACCESS}&refresh_token={REFRESH}"),
    Client("https://api.example", token=ACCESS),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_T8_what_holds_secrets_prints_none_of_them(holder: object) -> None:
    for text in (repr(holder), str(holder), f"{holder}", repr([holder]), repr({"pair": holder})):
        assert not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_T8_what_holds_secrets_cannot_be_serialised(holder: object) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(holder, protocol)
    with pytest.raises(TypeError):
        copy.deepcopy(holder)
    with pytest.raises(TypeError):
        json.dumps(holder)


def test_pairs_are_equal_by_their_tokens_and_cannot_be_changed() -> None:
    assert TokenPair("a", "b") == TokenPair("a", "b") != TokenPair("a", "c")
    with pytest.raises(AttributeError):
        PAIR.access = "other"  # type: ignore[misc]


def test_a_pair_shows_six_digits_of_a_fingerprint() -> None:
    assert repr(PAIR) == f"<TokenPair {fingerprint(ACCESS)}>"
    assert len(fingerprint(ACCESS)) == 6 and fingerprint(ACCESS) != fingerprint(REFRESH)


@pytest.mark.parametrize("value", ["", "a b", "a\n", "a\r\nX: y", "ü", "\0", None, 7, b"bytes", ["a"]])
def test_nothing_but_visible_ascii_is_a_token(value: object) -> None:
    assert not is_token(value)
    for build in (lambda: TokenPair(value, "b"), lambda: Client("https://a.example", token=value)):  # type: ignore[arg-type]
        with pytest.raises(ValueError) as caught:
            build()
        assert not value or str(value) not in str(caught.value)

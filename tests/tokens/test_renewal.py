"""Rows R2, R5 and R6 of the score card: a token in use is refused and replaced, and what goes wrong on the way."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from django.core import mail
from django.db import DatabaseError
from django.db import connection as database
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.calls import api_client, health_check
from integrations.models import Connection, State, TokenPair, backoff
from integrations.tokens import lease
from integrations.tokens.encryption import parse_keys
from tests.support.clients import Sandbox, audited, quick_connect, work, work_as_if_later
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.troubled_connections import fails, newest_live, pass_time, refuse, state, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)
EXCHANGE = "/integration/ExchangeToken"
OTHER_KEY = "YW5vdGhlciBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE="
TOO_LATE_TO_ANSWER = 2.0  # seconds


@pytest.fixture
def connected(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    """Connected some time ago, and working."""
    connection = quick_connect(acme, sandbox, by=alice)
    pass_time(timedelta(hours=7))
    mail.outbox.clear()
    sandbox.control("DELETE", "log")
    return connection


def kept(connection: Connection) -> tuple[int, bytes, bytes]:
    row = TokenPair.objects.current().get(connection=connection)
    return row.version, bytes(row.sealed_access), bytes(row.sealed_refresh)


def test_a_refused_token_is_replaced_behind_the_callers_back(sandbox: Sandbox, connected: Connection) -> None:
    refuse(sandbox)

    assert api_client.get(connected, "inspections").status == 200

    assert sandbox.exchanges() == 1
    assert audited("tokens.exchanged") == 1
    assert TokenPair.objects.get().fingerprint == newest_live(sandbox)
    assert api_client.get(connected, "user").status == 200
    assert sandbox.exchanges() == 1
    assert mail.outbox == []


def test_a_401_of_one_path_alone_is_no_reason_to_exchange(sandbox: Sandbox, connected: Connection) -> None:
    sandbox.fault("/inspections", "status", times=None, status=401)

    failure = fails(connected, "inspections")

    assert (failure.error_kind, failure.is_outage) == ("token_refused", False)
    assert sandbox.exchanges() == 0
    assert state(connected) == State.CONNECTED


def test_a_new_pair_that_could_not_be_proven_counts_as_proven_by_the_first_call_that_works(
    sandbox: Sandbox, connected: Connection
) -> None:
    refuse(sandbox)
    with answering_503_after_exchanges(sandbox):
        assert fails(connected).is_outage
    assert TokenPair.objects.get().proved_at is None
    work()
    assert TokenPair.objects.get().proved_at is not None
    refuse(sandbox)

    assert api_client.get(connected, "user").status == 200
    assert sandbox.exchanges() == 2
    assert mail.outbox == []


@contextmanager
def answering_503_after_exchanges(sandbox: Sandbox) -> Iterator[None]:
    """The API is gone as soon as an exchange has been made, until the block ends."""
    original = lease.LeasedPair.exchange

    def exchange(held: lease.LeasedPair) -> bool:
        result = original(held)
        sandbox.fault("/user", "status", times=None, status=503)
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lease.LeasedPair, "exchange", exchange)
        yield
    sandbox.clear_faults()


def test_a_new_pair_that_never_worked_is_not_exchanged_again_within_six_hours(
    sandbox: Sandbox, connected: Connection
) -> None:
    sandbox.fault("/user", "status", times=None, status=401)

    for _ in range(5):
        assert fails(connected).is_outage
    assert sandbox.exchanges() == 1
    assert state(connected) == State.TROUBLE

    pass_time(timedelta(minutes=16))
    for _ in range(5):
        assert not fails(connected).is_outage
    assert sandbox.exchanges() == 1
    assert state(connected) == State.NEEDS_RECONNECT

    pass_time(timedelta(hours=7))
    fails(connected)
    assert sandbox.exchanges() == 2


@pytest.mark.parametrize("loss", ["lost_answer", "hang"])
@pytest.mark.parametrize("mode", ["strict", "grace"])
def test_R2_a_lost_answer(
    mode: str, loss: str, sandbox: Sandbox, connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loss == "hang" and size(True, False):
        monkeypatch.setitem(cast(dict[str, Any], lease.send_exchange.__kwdefaults__), "deadline", TOO_LATE_TO_ANSWER)
    sandbox.mode(mode)
    sandbox.fault(EXCHANGE, loss, work=True)
    refuse(sandbox)
    begun = time.monotonic()

    if mode == "grace":
        assert api_client.get(connected, "user").status == 200
    else:
        assert not fails(connected).is_outage
    took = time.monotonic() - begun
    for _ in range(3):
        work_as_if_later()

    record(
        "R2",
        f"SnapInspect replaces the tokens and {'hangs' if loss == 'hang' else 'closes'}; {mode}",
        f"{'connected' if state(connected) == State.CONNECTED else 'needs reconnect'} after {took:.1f} s,"
        f" {sandbox.exchanges()} exchanges, {len(mail.outbox)} notices",
    )
    assert state(connected) == (State.CONNECTED if mode == "grace" else State.NEEDS_RECONNECT)
    assert sandbox.exchanges() == 2
    assert len(mail.outbox) == (0 if mode == "grace" else 1)
    assert took < 60


def test_a_lost_connection_is_asked_about_once_an_hour_and_not_all_the_time(
    sandbox: Sandbox, connected: Connection
) -> None:
    sandbox.fault(EXCHANGE, "lost_answer")
    refuse(sandbox)
    fails(connected)
    work()
    sandbox.control("DELETE", "log")

    for _ in range(20):
        jobs.sweep()
        work()
    assert sandbox.calls() == []

    pass_time(backoff.REFUSED_CHECK)
    work_until_idle()
    assert {call["path"] for call in sandbox.calls()} == {"/user"}


def test_too_many_requests_at_the_exchange_costs_nothing(sandbox: Sandbox, connected: Connection) -> None:
    sandbox.fault(EXCHANGE, "status", times=3, status=429)
    refuse(sandbox)

    assert fails(connected).is_outage
    assert state(connected) == State.TROUBLE
    for _ in range(4):
        work_as_if_later()

    assert state(connected) == State.CONNECTED
    assert mail.outbox == []


@pytest.mark.parametrize(("asked_for", "minutes"), [("600", 10), ("86400", 15), ("soon", 0)])
def test_what_the_exchange_asks_callers_to_wait_is_honoured_and_capped(
    asked_for: str, minutes: int, sandbox: Sandbox, connected: Connection, alice: User
) -> None:
    sandbox.fault(EXCHANGE, "status", times=None, status=429, headers={"Retry-After": asked_for})
    refuse(sandbox)

    for _ in range(5):
        failure = fails(connected)
        assert (failure.error_kind, failure.is_outage) == ("too_many_requests", True)
    assert health_check.replace_tokens(connected, by=alice) == "too_many_requests"
    assert sandbox.exchanges() == 1, "everybody who called has asked again"

    if minutes:
        pass_time(timedelta(minutes=minutes, seconds=-20))
        fails(connected)
        work_until_idle()
        assert sandbox.exchanges() == 1
    sandbox.clear_faults()
    pass_time(timedelta(seconds=30))
    work_until_idle()
    assert api_client.get(connected, "user").status == 200
    assert sandbox.exchanges() == 2


def test_an_outage_of_the_exchange_that_names_a_time_is_not_asked_at_once_again(
    sandbox: Sandbox, connected: Connection
) -> None:
    sandbox.fault(EXCHANGE, "status", status=503, headers={"Retry-After": "120"})
    refuse(sandbox)

    for _ in range(3):
        assert fails(connected).is_outage
    work_until_idle()
    assert sandbox.exchanges() == 1

    pass_time(timedelta(seconds=130))
    work_until_idle()
    assert state(connected) == State.CONNECTED
    assert sandbox.exchanges() == 2


@contextmanager
def full_disk(tmp_path: Path, settings: Settings) -> Iterator[None]:
    """SQLite may not take another page; elsewhere the disk is this host's own, and the folder for answers is lost."""
    if database.vendor != "sqlite":
        right, settings.SPOOL_DIR = settings.SPOOL_DIR, tmp_path / "occupied"
        settings.SPOOL_DIR.write_text("a file where the folder should be")
        yield
        settings.SPOOL_DIR = right
        return
    with database.cursor() as cursor:
        cursor.execute("VACUUM")  # no free pages are left in it
        cursor.execute("PRAGMA page_count")
        cursor.execute(f"PRAGMA max_page_count = {cursor.fetchone()[0]}")
        try:
            yield
        finally:
            cursor.execute("PRAGMA max_page_count = 1073741823")


def test_R5_a_full_disk_stops_the_exchange_before_it_is_sent(
    sandbox: Sandbox, connected: Connection, tmp_path: Path, settings: Settings
) -> None:
    refuse(sandbox)
    before = kept(connected)

    with full_disk(tmp_path, settings), pytest.raises((api_client.NoAnswer, DatabaseError)):
        api_client.get(connected, "user")
    sent = sandbox.exchanges()

    record("R5", "the disk is full when an exchange is due", f"{sent} exchanges sent")
    assert sent == 0
    assert kept(connected) == before
    assert api_client.get(connected, "user").status == 200, "it did not recover by itself"


def test_R5_a_spool_that_cannot_be_written_is_a_setup_problem_and_stops_the_exchange(
    sandbox: Sandbox, connected: Connection, tmp_path: Path, settings: Settings
) -> None:
    right, settings.SPOOL_DIR = settings.SPOOL_DIR, tmp_path / "occupied"
    settings.SPOOL_DIR.write_text("a file where the folder should be")
    refuse(sandbox)
    before = kept(connected)

    failure = fails(connected)

    record("R5", "the folder for answers cannot be written", f"{sandbox.exchanges()} exchanges sent")
    assert (failure.error_kind, sandbox.exchanges()) == ("no_room", 0)
    assert state(connected) == State.SETUP_PROBLEM
    assert kept(connected) == before
    settings.SPOOL_DIR = right
    work_as_if_later()
    assert state(connected) == State.CONNECTED


def test_R5_with_a_wrong_key_nothing_is_sent(sandbox: Sandbox, connected: Connection, settings: Settings) -> None:
    refuse(sandbox)
    before = kept(connected)
    right, settings.TOKEN_ENCRYPTION_KEYS = settings.TOKEN_ENCRYPTION_KEYS, parse_keys(OTHER_KEY)

    failure = fails(connected)
    work_as_if_later()

    record("R5", "the key is missing when an exchange is due", f"{sandbox.exchanges()} exchanges sent")
    assert (failure.error_kind, sandbox.exchanges()) == ("cannot_unseal", 0)
    assert state(connected) == State.SETUP_PROBLEM
    assert kept(connected) == before
    settings.TOKEN_ENCRYPTION_KEYS = right
    assert api_client.get(connected, "user").status == 200


WITHOUT_TOKENS: list[dict[str, Any]] = [
    {"kind": "html"},
    {"kind": "status", "status": 500},
    {"kind": "raw", "body_base64": ""},
    {"kind": "raw", "body_base64": "eyJhY2Nlc3NfdG9rZW4iOiAiYWJj"},  # {"access_token": "abc
    {"kind": "null_token"},
    {"kind": "missing_token"},
    {"kind": "missing_refresh"},
    {"kind": "raw", "body_base64": "WzEsIDJd"},  # [1, 2]
    {"kind": "bomb"},
]
WITH_TOKENS: list[dict[str, Any]] = [
    {"kind": "extra_fields"},
    {"kind": "extra_fields", "change": {"padding": "x" * 1_000_000}},
    {"kind": "wrong_state"},
    {"kind": "wrong_type"},
    {"kind": "duplicate_keys"},
]


@pytest.mark.parametrize("odd", WITHOUT_TOKENS, ids=lambda odd: f"{odd['kind']} {odd.get('body_base64', '')}")
def test_R6_an_odd_answer_without_two_tokens_never_overwrites_what_is_kept(
    odd: dict[str, Any], sandbox: Sandbox, connected: Connection
) -> None:
    before = kept(connected)
    # Refused and accepted again: what comes after the exchange shows that the old pair is still there.
    sandbox.fault("/user", "status", times=3, status=401)
    sandbox.fault(EXCHANGE, times=None, **odd)
    altering = odd["kind"] in {"null_token", "missing_token", "missing_refresh"}
    fails(connected)

    assert kept(connected) == before
    sandbox.clear_faults()
    work_as_if_later()
    record("R6", f"an answer without two tokens ({odd['kind']})", "what was kept is untouched")
    # An answer that was altered had been carried out: then the old tokens are dead, and a person is needed.
    assert state(connected) == (State.NEEDS_RECONNECT if altering else State.CONNECTED)


@pytest.mark.parametrize("odd", WITH_TOKENS, ids=lambda odd: odd["kind"])
def test_R6_every_answer_with_two_tokens_is_saved(odd: dict[str, Any], sandbox: Sandbox, connected: Connection) -> None:
    sandbox.fault(EXCHANGE, **odd)
    refuse(sandbox)

    assert api_client.get(connected, "user").status == 200

    record("R6", f"an answer with two tokens, and odd ({odd['kind']})", "saved, works")
    assert TokenPair.objects.get().fingerprint == newest_live(sandbox)
    assert sandbox.exchanges() == 1

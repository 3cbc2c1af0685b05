"""Rows T6, O7 and O8 of the score card: keys lost and found, and values spoilt."""

import base64
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core import mail
from django.core.checks import Error
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings

from accounts.models import Customer, User
from integrations import checks
from integrations.calls import api_client, health_check
from integrations.models import Connection, TokenPair, backoff
from integrations.tokens import custody, keys, lease
from integrations.tokens.encryption import CannotUnseal, parse_keys
from tests.support.clients import OTHER, Sandbox, Visitor, audited, badge, quick_connect, work, work_as_if_later
from tests.support.measurements import record

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]

OTHER_TEXT = base64.b64encode(b"another key of thirty-two bytes!").decode()
OTHER_KEY = parse_keys(OTHER_TEXT)[0]


@pytest.fixture
def connected(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    return quick_connect(acme, sandbox, by=alice)


@pytest.fixture
def wrong_key(connected: Connection, settings: Settings) -> str:
    """The app has another key than the one that sealed the tokens; this is the missing one's id."""
    missing = str(settings.TOKEN_ENCRYPTION_KEYS[0].id)
    settings.TOKEN_ENCRYPTION_KEYS = (OTHER_KEY,)
    return missing


def sealed() -> list[Any]:
    rows = TokenPair.objects.order_by("pk").values_list("pk", "sealed_access", "sealed_refresh", "version", "key_id")
    return [tuple(bytes(cell) if isinstance(cell, memoryview) else cell for cell in row) for row in rows]


def test_O7_with_a_key_lost_nothing_is_sent_or_overwritten_by_whatever_is_tried(
    connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, wrong_key: str
) -> None:
    before = sealed()
    browser = visit(alice)
    where = f"/c/{acme.code}/connections/{connected.code}/"
    sandbox.control("DELETE", "log")

    browser.look(connected)
    for press in ("test/", "replace-tokens/"):
        assert browser.post(where + press).status_code == 302, press
    with pytest.raises(api_client.NoAnswer):
        api_client.get(connected, "user")
    TokenPair.objects.update(exchange_sent_at=Now(), exchange_sends=1, next_try_at=Now())  # a holder that is gone
    work_as_if_later()

    kept = "nothing" if sealed() == before else "SOMETHING"
    record(
        "O7",
        "a key is lost, and people, calls and workers go on",
        f"{len(sandbox.calls())} calls, {sandbox.exchanges()} exchanges, {kept} overwritten",
    )
    assert (sandbox.calls(), sealed()) == ([], before)
    assert badge(connected) == "Setup problem"


@pytest.mark.parametrize("asked_by", ["a call", "a person"])
def test_O7_the_first_call_that_meets_a_missing_key_makes_it_a_setup_problem(
    asked_by: str, connected: Connection, alice: User, wrong_key: str
) -> None:
    if asked_by == "a call":
        with pytest.raises(api_client.NoAnswer):
            api_client.get(connected, "user")
    else:
        assert health_check.replace_tokens(connected, by=alice) == "cannot_unseal"
    assert badge(connected) == "Setup problem"


def test_O7_what_waits_for_the_key_is_tried_again_within_minutes(
    connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, settings: Settings
) -> None:
    right = settings.TOKEN_ENCRYPTION_KEYS
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme), account=OTHER))  # its pair waits to be proven
    settings.TOKEN_ENCRYPTION_KEYS = (OTHER_KEY,)
    for _ in range(12):
        work_as_if_later()
    soon = Now() + backoff.LONGEST_OUTAGE_WAIT
    assert Connection.objects.filter(pk=connected.pk, next_check_at__lte=soon).exists()
    assert TokenPair.objects.candidates().filter(next_try_at__lte=soon).exists()
    assert {badge(connection) for connection in acme.connections.all()} == {"Setup problem"}

    settings.TOKEN_ENCRYPTION_KEYS = right
    work_as_if_later()
    assert {badge(connection) for connection in acme.connections.all()} == {"Connected"}


def test_O7_an_exchange_cut_short_waits_for_the_key_without_a_word_and_then_goes_on(
    connected: Connection, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    right = settings.TOKEN_ENCRYPTION_KEYS
    TokenPair.objects.update(exchange_sent_at=Now(), exchange_sends=1, next_try_at=Now())
    settings.TOKEN_ENCRYPTION_KEYS = (OTHER_KEY,)
    for _ in range(3):
        work()
    assert not TokenPair.objects.interrupted().exists(), "it is not tried every second"
    assert [record for record in caplog.records if record.name.startswith("integrations")] == []

    settings.TOKEN_ENCRYPTION_KEYS = right
    TokenPair.objects.update(next_try_at=Now())
    work_as_if_later()
    assert TokenPair.objects.get().exchange_sent_at is None
    assert badge(connected) == "Connected"


def test_O7_the_app_is_not_ready_and_names_the_missing_key(
    stranger: Client, connected: Connection, wrong_key: str, settings: Settings
) -> None:
    answer = stranger.get("/health/ready")
    assert (answer.status_code, answer.json()["keys"]) == (503, f"not configured: {wrong_key}")
    assert stranger.get("/health/live").status_code == 200

    (problem,) = checks.needed_keys_are_configured(None, databases=["default"])
    assert isinstance(problem, Error)
    assert problem.id == "integrations.E003"
    assert wrong_key in problem.msg
    assert checks.needed_keys_are_configured(None) == [], "without a database nothing can be said"


def test_O7_the_log_says_it_once_and_once_that_it_is_over(
    connected: Connection, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    right, watch = settings.TOKEN_ENCRYPTION_KEYS, keys.Watch(every=0)
    watch.look()
    assert caplog.records == []
    settings.TOKEN_ENCRYPTION_KEYS = (OTHER_KEY,)
    for _ in range(5):
        watch.look()
    settings.TOKEN_ENCRYPTION_KEYS = (OTHER_KEY, *right)
    watch.look()

    lost, found = (record.getMessage() for record in caplog.records)
    assert right[0].id in lost
    assert "TOKEN_ENCRYPTION_KEYS" in lost
    assert "\n" not in lost
    assert "again" in found


def test_a_key_that_is_lost_for_good_can_be_given_up_and_owners_are_asked_once_to_connect_again(
    connected: Connection, sandbox: Sandbox, alice: User, acme: Customer, settings: Settings
) -> None:
    lost = settings.TOKEN_ENCRYPTION_KEYS[0].id
    with pytest.raises(CommandError):
        call_command("reseal_tokens", give_up=lost)
    settings.TOKEN_ENCRYPTION_KEYS = (OTHER_KEY,)
    other = quick_connect(acme, sandbox, by=alice, account=OTHER)
    mail.outbox.clear()

    said = StringIO()
    call_command("reseal_tokens", give_up=lost, dry_run=True, stdout=said)
    assert TokenPair.objects.filter(connection=connected).exists()
    call_command("reseal_tokens", give_up=lost, stdout=said)
    for _ in range(3):
        work_as_if_later()

    assert (badge(connected), badge(other)) == ("Needs reconnect", "Connected")
    assert [message.to for message in mail.outbox] == [[alice.email]]
    assert keys.missing() == {}
    assert audited("tokens.given_up") == 1
    quick_connect(acme, sandbox, by=alice)
    assert badge(connected) == "Connected"


@pytest.mark.parametrize("column", ["sealed_access", "sealed_refresh"])
@pytest.mark.once
def test_T6_with_any_byte_of_a_stored_token_changed_it_is_refused_before_anything_is_sent(
    column: str, connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    fine = quick_connect(acme, sandbox, by=alice, account=OTHER)
    row = TokenPair.objects.filter(connection=connected)
    whole, refused = bytes(getattr(row.get(), column)), 0
    sandbox.control("DELETE", "log")

    for position in range(len(whole)):
        altered = bytearray(whole)
        altered[position] ^= 1
        row.update(**{column: bytes(altered)})
        held = lease.claim_current(*custody.current_pair(connected) or (0, 0))
        assert held is not None
        with held, pytest.raises(CannotUnseal):
            if column == "sealed_access":
                held.client()
            else:
                held.exchange()
        refused += 1
    assert sandbox.calls() == []

    # What people see, the refresh token being needed once the access token is dead.
    if column == "sealed_refresh":
        sandbox.control("POST", "revoke_all", {"kind": "access"})
    visit(alice).look(connected)
    assert badge(connected) == "Setup problem"
    visit(alice).look(fine)
    record(
        "T6",
        f"each byte of {column} is altered in the database",
        f"{refused} of {len(whole)} refused, a setup problem of that connection alone, {sandbox.exchanges()} exchanges",
    )
    assert badge(fine) == "Connected"


@pytest.mark.parametrize("fallbacks", [True, False], ids=["with a fallback", "without"])
def test_O8_another_secret_key_signs_people_out_unless_it_has_a_fallback_and_touches_no_token(
    fallbacks: bool, connected: Connection, visit: Visit, alice: User, acme: Customer, settings: Settings
) -> None:
    before = sealed()
    browser = visit(alice)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY] if fallbacks else []
    settings.SECRET_KEY = "another-secret-key-0123456789-abcdefghijklmnopqrstuvwxyz"

    page = browser.get(f"/c/{acme.code}/")
    works = api_client.get(connected, "user").status == 200
    record(
        "O8",
        f"SECRET_KEY changes {'with' if fallbacks else 'without'} a fallback",
        f"{'still signed in' if page.status_code == 200 else 'signed out'}, tokens {'work' if works else 'DEAD'}",
    )
    assert page.status_code == (200 if fallbacks else 302)
    assert works
    assert (sealed(), badge(connected)) == (before, "Connected")


@pytest.mark.parametrize("fallbacks", [True, False], ids=["with a fallback", "without"])
def test_O8_who_is_at_snapinspect_while_the_secret_key_changes_starts_again_and_nothing_else_happens(
    fallbacks: bool,
    connected: Connection,
    sandbox: Sandbox,
    visit: Visit,
    alice: User,
    acme: Customer,
    settings: Settings,
) -> None:
    browser = visit(alice)
    begun, before = sandbox.decide(browser.start_connect(acme, connection=connected)), sealed()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY] if fallbacks else []
    settings.SECRET_KEY = "another-secret-key-0123456789-abcdefghijklmnopqrstuvwxyz"

    # Django gives a session that an earlier key has signed a new name, and a state belongs to its session.
    answer = browser.open_callback(begun)
    work()
    assert answer.status_code == 303
    assert answer["Location"].startswith("/connect/ended/")
    assert (sealed(), badge(connected)) == (before, "Connected")

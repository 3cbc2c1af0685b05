"""Row O6 of the score card: from an old key to a new one while everything runs, killed as often as you like."""

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, User
from integrations.calls import api_client
from integrations.events import webhook_addresses
from integrations.models import Connection, State, TokenPair
from integrations.snapinspect.token_pair import fingerprint
from integrations.tokens import encryption, keys, lease, renewal, spool
from integrations.tokens.encryption import CannotUnseal, KeyContext, MasterKey, Purpose, parse_keys, seal, unseal
from tests.settings import SENTINEL
from tests.support.clients import OTHER, Sandbox, Visitor, audited
from tests.support.measurements import record
from tests.support.sizes import size

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
ROOT = Path(__file__).resolve().parents[2]

OLD_TEXT = "dGVzdHMgc2VhbCB0b2tlbnMgd2l0aCB0aGlzIGtleSE="
NEW_TEXT = "YSBuZXdlciBrZXkgb2YgMzIgYnl0ZXMsIGZvciBPNi4="
OLD, NEW = parse_keys(OLD_TEXT)[0], parse_keys(NEW_TEXT)[0]
TOKENS = size(300, 10_000)
KILLS = size(3, 10)
PLACES: tuple[tuple[str, Purpose], ...] = ("sealed_access", "access"), ("sealed_refresh", "refresh")

# The command itself, in a process that kills itself with the n-th token in its hands, not yet put back.
KILLED_AT = """
import itertools, os, signal, sys
import django
django.setup()
from django.core.management import call_command
from integrations.tokens import encryption, key_rotation
key_rotation.BATCH = 50
count, reseal = itertools.count(1), encryption.reseal
def deadly(*given):
    if next(count) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return reseal(*given)
encryption.reseal = deadly
call_command("reseal_tokens")
"""


@pytest.fixture
def connected(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    return visit(alice).connect(acme, sandbox)


def reseal(**options: Any) -> str:
    said = StringIO()
    call_command("reseal_tokens", stdout=said, **options)
    return said.getvalue()


def command(*arguments: str, key_texts: str) -> subprocess.Popen[str]:
    """A process on this test's database, with these keys."""
    name = database.settings_dict
    url = (
        f"sqlite:///{Path(name['NAME']).absolute()}"
        if database.vendor == "sqlite"
        else f"postgres://{name['USER']}@{name['HOST']}:{name['PORT']}/{name['NAME']}"
    )
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "TOKEN_ENCRYPTION_KEYS": key_texts,
            "DJANGO_SETTINGS_MODULE": "connectapp.settings",
        },
    )


def stored(sandbox: Sandbox, customer: Customer, key: MasterKey, how_many: int) -> list[Connection]:
    """Connections whose pairs are sealed by this key."""
    made = Connection.objects.bulk_create(
        [Connection(customer=customer, state=State.CONNECTED) for _ in range(how_many)]
    )
    rows = []
    for connection in made:
        grant = sandbox.grant()
        row = {}
        for column, purpose in PLACES:
            row[column] = seal(grant[f"{purpose}_token"], KeyContext(customer.pk, connection.pk, purpose)).ciphertext
        told = {"key_id": key.id, "fingerprint": fingerprint(grant["access_token"]), "proved_at": timezone.now()}
        rows.append(TokenPair(connection=connection, role="current", **told, **row))
    TokenPair.objects.bulk_create(rows)
    return made


def readable() -> list[str]:
    """Every stored token, opened."""
    return [
        unseal(getattr(row, column), KeyContext(row.connection.customer_id, row.connection_id, purpose))
        for row in TokenPair.objects.select_related("connection").iterator()
        for column, purpose in PLACES
    ]


def living(sandbox: Sandbox) -> int:
    """How many stored tokens SnapInspect accepts."""
    return len({str(token["token"]) for token in sandbox.tokens() if token["live"]} & set(readable()))


class Callers:
    """Threads that call SnapInspect for one connection after the other, and now and then meet a dead token."""

    def __init__(self, connections: list[Connection], sandbox: Sandbox, revocations: int) -> None:
        self.stop, self.calls, self.failures = threading.Event(), 0, list[str]()
        self._connections, self._sandbox, self._revocations = connections, sandbox, revocations
        self._threads = [threading.Thread(target=self._call, args=[n]) for n in range(2)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        mine = self._connections[number :: len(self._threads)]
        try:
            while not self.stop.is_set():
                connection = random.choice(mine)
                if number == 0 and self._revocations and self.calls % 10 == 0:
                    self._revocations -= 1
                    row = TokenPair.objects.current().get(connection=connection)
                    place = KeyContext(connection.customer_id, connection.pk, "access")
                    self._sandbox.control("POST", "revoke", {"token": unseal(row.sealed_access, place)})
                api_client.get(connection, "user")
                self.calls += 1
        except Exception as problem:
            self.failures.append(repr(problem))
        finally:
            database.close()


@pytest.mark.slow
def test_O6_resealing_that_is_killed_again_and_again_loses_nothing_while_calls_go_on(
    sandbox: Sandbox, acme: Customer, settings: Settings
) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = (OLD,)
    connections = stored(sandbox, acme, OLD, TOKENS)
    settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)
    both = f"{NEW_TEXT},{OLD_TEXT}"
    progress = []

    with Callers(connections, sandbox, revocations=size(8, 40)) as callers:
        for kill in range(KILLS):
            # Once between the two tokens of a row, once before its update.
            victim = command("-c", KILLED_AT, str(2 * TOKENS // (KILLS + 1) + kill % 2), key_texts=both)
            said = victim.communicate(timeout=600)
            assert victim.returncode == -signal.SIGKILL, said
            progress.append(TokenPair.objects.filter(key_id=NEW.id).count())
            assert len(readable()) == 2 * TOKENS
        last = command("manage.py", "reseal_tokens", key_texts=both)
        said = last.communicate(timeout=600)
        called_meanwhile = callers.calls
        assert last.returncode == 0, said

    settings.TOKEN_ENCRYPTION_KEYS = (NEW,)
    exchanged = audited("tokens.exchanged")  # the stand-in remembers its latest calls only
    record(
        "O6",
        "resealing is killed again and again while calls go on",
        f"{KILLS} kill -9, {called_meanwhile} calls and {exchanged} exchanges meanwhile, of which"
        f" {len(callers.failures)} failed; by the new key alone {len(readable())} of {2 * TOKENS} tokens are readable",
    )
    assert callers.failures == []
    assert progress == sorted(set(progress)), "each run goes on where the one before it was killed"
    assert progress[-1] < TOKENS
    assert called_meanwhile > 0 and exchanged > 0
    assert living(sandbox) == 2 * TOKENS
    assert f"may be removed: {OLD.id}" in said[0]
    assert SENTINEL not in "".join(said)
    assert keys.missing() == {}


def test_O6_an_exchange_between_reading_and_writing_wins(
    connected: Connection, sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)
    inner, calls = encryption.reseal, itertools.count()

    def interrupted(*given: Any) -> Any:
        if next(calls) == 0:
            settings.TOKEN_ENCRYPTION_KEYS = (OLD,)  # as in a process that was not restarted yet
            renewal.replace(connected)
            settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)
        return inner(*given)

    monkeypatch.setattr(encryption, "reseal", interrupted)
    reseal()

    assert TokenPair.objects.get().version == 3  # after the exchange on connecting, and this one
    assert living(sandbox) == 2


def test_a_row_that_moved_to_another_connection_meanwhile_keeps_its_new_seal(
    connected: Connection,
    sandbox: Sandbox,
    visit: Visit,
    alice: User,
    acme: Customer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme), account=OTHER))
    candidate = TokenPair.objects.candidates().get()
    inner, moved = encryption.reseal, list[bool]()

    def interrupted(*given: Any) -> Any:
        if not moved and given[1].connection == candidate.connection_id:
            moved.append(True)
            settings.TOKEN_ENCRYPTION_KEYS = (OLD,)  # as in a process that was not restarted yet
            with lease.claim_candidate(candidate.pk) as held:  # type: ignore[union-attr]
                held.move_to(connected)
            settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)
        return inner(*given)

    monkeypatch.setattr(encryption, "reseal", interrupted)
    settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)
    reseal()

    assert TokenPair.objects.filter(connection=connected, key_id=NEW.id).count() == 2
    assert living(sandbox) == 4


def test_a_dry_run_says_which_keys_are_still_needed_and_changes_nothing(
    connected: Connection, settings: Settings
) -> None:
    before = list(TokenPair.objects.values())
    settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)
    assert reseal(dry_run=True).splitlines() == [
        f"{NEW.id}         0 rows  the newest key",
        f"{OLD.id}         1 rows  to be resealed",
    ]
    settings.TOKEN_ENCRYPTION_KEYS = (NEW,)
    assert f"{OLD.id}         1 rows  NOT CONFIGURED" in reseal(dry_run=True)
    assert list(TokenPair.objects.values()) == before

    settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)
    reseal()
    assert f"{OLD.id}         0 rows  may be removed" in reseal(dry_run=True)
    assert audited("keys.resealed") == 1


def test_what_cannot_be_opened_is_named_and_left_as_it_is_and_the_rest_is_resealed(
    connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, settings: Settings
) -> None:
    spoilt = visit(alice).connect(acme, sandbox, account=OTHER)
    TokenPair.objects.filter(connection=spoilt).update(sealed_refresh=b"spoilt")
    before = TokenPair.objects.filter(connection=spoilt).values().get()
    settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)

    with pytest.raises(CommandError) as ended:
        reseal()

    assert str(ended.value) == f"1 rows could not be opened and stay as they are. Connections: {spoilt.code}."
    assert TokenPair.objects.filter(connection=spoilt).values().get() == before
    assert TokenPair.objects.get(connection=connected).key_id == NEW.id
    assert AuditEntry.objects.get(kind="keys.resealed").detail == {"key": NEW.id, "rows": 1, "not_opened": 1}


def test_a_pair_that_waits_on_disk_keeps_its_key_in_use(connected: Connection, settings: Settings) -> None:
    row = TokenPair.objects.get()
    slot = spool.reserve(row.pk, row.version)
    slot.fill(spool.Entry(row.pk, row.version, connected.code, "a", "r", OLD.id, "other0", 0))
    settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)
    with lease.claim_current(row.pk, row.version):  # type: ignore[union-attr]
        assert f"Key {OLD.id} still seals 1 rows" in reseal()
    slot.free()
    assert f"may be removed: {OLD.id}" in reseal()


def test_the_webhook_address_of_a_connection_is_resealed_and_still_shown_and_found(
    connected: Connection, alice: User, settings: Settings
) -> None:
    address = webhook_addresses.issue(connected, by=alice)
    settings.TOKEN_ENCRYPTION_KEYS = (NEW, OLD)
    assert "2 rows  to be resealed" in reseal(dry_run=True)
    reseal()

    settings.TOKEN_ENCRYPTION_KEYS = (NEW,)
    assert webhook_addresses.address_of(connected) == address
    assert keys.missing() == {}

    # Lost for good: it still works, and shows no more.
    settings.TOKEN_ENCRYPTION_KEYS = (OLD,)
    reseal(give_up=NEW.id)
    found = webhook_addresses.find(address.rstrip("/").rpartition("/")[2])
    assert found is not None
    assert found.connection_id == connected.pk
    with pytest.raises(CannotUnseal):
        webhook_addresses.address_of(connected)
    assert keys.missing() == {}

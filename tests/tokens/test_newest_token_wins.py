"""Rows R8, R9 and O10 of the score card: whoever else reads or writes, the newest token is the one in use."""

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.db import connection as database
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.calls import api_client, health_check
from integrations.models import Connection, ConnectionTest, State, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody, key_rotation, lease, renewal, spool, spool_recovery, storage
from integrations.tokens.encryption import parse_keys
from tests.support.clients import OTHER, Sandbox, Visitor, audited, quick_connect
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.troubled_connections import fails, newest_live, pass_time, refuse, state, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
EXCHANGE = "/integration/ExchangeToken"
OTHER_KEY = "YW5vdGhlciBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE="


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


def test_R8_a_caller_whose_token_another_has_just_replaced_carries_on_with_the_new_one(
    sandbox: Sandbox, connected: Connection
) -> None:
    schedules, chance = size(15, 1000), random.Random(8)

    def call(pause: float) -> int:
        try:
            time.sleep(pause)
            return api_client.get(connected, "inspections").status
        finally:
            database.close()

    with ThreadPoolExecutor(1) as other:
        for _ in range(schedules):
            # The call arrives with a good token, and is answered when it is dead.
            sandbox.fault("/inspections", delay=chance.uniform(0.005, 0.04))
            answer = other.submit(call, chance.uniform(0, 0.01))
            renewal.replace(connected)
            assert answer.result(60) == 200
            sandbox.clear_faults()

    false_alarms = audited("connection.needs_reconnect")
    record("R8", "another process has rotated 10 ms earlier", f"{false_alarms} false alarms in {schedules}")
    assert false_alarms == 0
    assert sandbox.exchanges() == schedules
    assert state(connected) == State.CONNECTED


def test_R9_no_other_way_of_saving_brings_an_old_token_back(
    sandbox: Sandbox, connected: Connection, visit: Visit, alice: User, settings: Settings
) -> None:
    schedules, chance = size(15, 1000), random.Random(9)
    settings.TOKEN_ENCRYPTION_KEYS = keys = [*settings.TOKEN_ENCRYPTION_KEYS, *parse_keys(OTHER_KEY)]
    sandbox.fault(EXCHANGE, times=None, delay=0.01, work=True)
    staff = visit(User.objects.create_superuser("staff@example.com", "correct horse battery"))
    survived = 0
    for _ in range(schedules):
        keys.reverse()  # so that resealing has something to do each time
        stale = Connection.objects.prefetch_related("pairs").get(pk=connected.pk)
        assert list(stale.pairs.all())
        pair = TokenPair.objects.get()
        saves = _saves(stale, pair, alice, staff)
        chance.shuffle(saves)
        with ThreadPoolExecutor(1) as other:
            rotating = other.submit(_rotate, connected)
            for save in saves:
                threading.Event().wait(chance.uniform(0, 0.01))
                save()
            rotating.result(60)
        survived += kept(connected)[0] == pair.version + 1 and api_client.get(connected, "user").status == 200

    record("R9", "every other save interleaved with a rotation", f"the token survived {survived} of {schedules}")
    assert survived == schedules
    assert sandbox.exchanges() == schedules


def _rotate(connection: Connection) -> None:
    try:
        renewal.replace(connection)
    finally:
        database.close()


def _saves(stale: Connection, pair: TokenPair, by: User, staff: Visitor) -> list[Callable[[], Any]]:
    def save_pair() -> None:
        with pytest.raises(TypeError):
            pair.save()

    def save_in_admin() -> None:
        assert (
            staff.post(f"/admin/integrations/connection/{stale.pk}/change/", {"state": "connected"}).status_code == 403
        )

    def save_late() -> None:
        with pytest.raises(lease.LostLease):
            lease.LeasedPair(pair.pk, "an owner who lost it long ago")

    return [
        stale.save,
        lambda: stale.move_to(State.CONNECTED),
        lambda: stale.move_to(State.TROUBLE, error_kind="timeout", failed_checks=1),
        lambda: ConnectionTest.objects.create(connection=stale, by=by, duration=timedelta()),
        lambda: custody.mark_proved((pair.pk, pair.version)),
        lambda: health_check.routine_check(stale.pk),
        jobs.sweep,
        key_rotation.reseal,
        stale.customer.save,
        save_pair,
        save_in_admin,
        save_late,
    ]


def test_a_pair_that_was_taken_home_behind_the_back_of_its_holder_is_not_kept_twice(
    sandbox: Sandbox, connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pk, version = custody.current_pair(connected) or (0, 0)
    held = lease.claim_current(pk, version)
    assert held is not None
    fill = spool.Slot.fill

    def fill_and_freeze(slot: spool.Slot, entry: spool.Entry) -> None:
        fill(slot, entry)
        TokenPair.objects.update(lease_until=Now() - timedelta(seconds=1))
        assert spool_recovery.commit_spooled() == 1

    monkeypatch.setattr(spool.Slot, "fill", fill_and_freeze)
    with pytest.raises(lease.LostLease):
        held.exchange()

    assert TokenPair.objects.get().fingerprint == newest_live(sandbox)
    assert list(spool.entries()) == []


def test_R4_a_web_process_brings_home_what_lies_on_its_disk_and_else_leaves_the_database_alone(
    sandbox: Sandbox, connected: Connection
) -> None:
    row, granted = TokenPair.objects.get(), sandbox.grant()
    fresh = token_pair.TokenPair(granted["access_token"], granted["refresh_token"])
    spool.reserve(row.pk, row.version).fill(storage.to_spool(row, storage.columns(fresh, connected)))

    assert spool_recovery.recover() == 1
    assert TokenPair.objects.get().fingerprint == token_pair.fingerprint(fresh.access)
    with CaptureQueriesContext(database) as asked:
        assert spool_recovery.recover() == 0
    assert len(asked) == 0


def test_R16_a_new_pair_that_answered_a_faster_caller_and_is_refused_again_needs_no_person(
    sandbox: Sandbox, connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = lease.LeasedPair._commit

    def commit_and_be_overtaken(held: lease.LeasedPair, sealed: dict[str, Any]) -> None:
        commit(held, sealed)
        monkeypatch.undo()
        assert custody.client_for(connected).user()
        custody.mark_proved(custody.current_pair(connected) or (0, 0))
        refuse(sandbox)

    refuse(sandbox)
    monkeypatch.setattr(lease.LeasedPair, "_commit", commit_and_be_overtaken)
    fails(connected)

    assert state(connected) == State.CONNECTED
    work_until_idle()
    assert api_client.get(connected, "user").status == 200
    assert (state(connected), sandbox.exchanges()) == (State.CONNECTED, 2)


def test_what_another_database_has_left_in_the_folder_overwrites_nothing(
    sandbox: Sandbox, connected: Connection
) -> None:
    row, before = TokenPair.objects.get(), kept(connected)
    slot = spool.reserve(row.pk, row.version)
    slot.fill(spool.Entry(row.pk, row.version, "of-another", "sealed", "sealed", row.key_id, "abcdef", 0))
    try:
        assert spool_recovery.commit_spooled() == 0
        jobs.sweep()
        assert kept(connected) == before
    finally:
        slot.free()


@pytest.mark.parametrize(
    "kept_bytes", [b'{"pair": 1, "of_a_newer_version": true}', b'{"pair": 1, "vers' + bytes(100)], ids=["newer", "cut"]
)
def test_what_this_version_cannot_read_stays_on_disk_and_is_reported_once(
    kept_bytes: bytes, db: None, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SPOOL_DIR = tmp_path
    unknown, empty = spool.reserve(1, 1).path, spool.reserve(2, 1).path
    unknown.write_bytes(kept_bytes)
    for path in (unknown, empty):
        os.utime(path, (0, 0))
    for _ in range(3):
        jobs.sweep()

    assert unknown.read_bytes() == kept_bytes
    assert not empty.exists()
    assert caplog.text.count("cannot be read by this version") == 1


def test_an_entry_whose_writer_was_killed_before_it_was_cut_off_is_read(settings: Settings, tmp_path: Path) -> None:
    settings.SPOOL_DIR = tmp_path
    slot = spool.reserve(1, 1)
    entry = spool.Entry(1, 1, "code", "sealed", "sealed", "key", "abcdef", 0)
    slot.fill(entry)
    slot.path.write_bytes(slot.path.read_bytes() + bytes(100))
    assert slot.read() == entry


def test_O10_after_yesterdays_backup_every_stale_connection_is_named_and_the_others_work(
    sandbox: Sandbox, alice: User, acme: Customer, charlie: User, connected: Connection
) -> None:
    others = charlie.customers.get()
    untouched = quick_connect(others, sandbox, by=charlie, account=OTHER)
    yesterday = list(TokenPair.objects.filter(connection=connected).values())
    renewal.replace(connected)
    TokenPair.objects.filter(connection=connected).delete()
    TokenPair.objects.bulk_create([TokenPair(**row) for row in yesterday])
    sandbox.control("DELETE", "log")

    for _ in range(10):
        pass_time(timedelta(minutes=1))
        jobs.sweep()
        work_until_idle()
        api_client.get(untouched, "user")
        fails(connected)

    sent, asked = sandbox.exchanges(), len(sandbox.calls("/user"))
    record(
        "O10",
        "yesterday's backup is restored, one of two connections has rotated since",
        f"it needs reconnect at its first call, {sent} exchanges, {len(mail.outbox)} notice, {asked} calls in 10 min",
    )
    assert (state(connected), state(untouched)) == (State.NEEDS_RECONNECT, State.CONNECTED)
    assert sent == 1
    assert len(mail.outbox) == 1

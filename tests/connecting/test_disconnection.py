"""Row T9 of the score card: disconnect ends the access at SnapInspect if it answers, and erases it here in any case."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection as database
from django.db.models.functions import Now

from accounts.models import AuditEntry, Customer, User
from integrations.background import jobs
from integrations.calls import api_client, health_check
from integrations.connecting import disconnection
from integrations.models import Connection, State, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody, lease, renewal, spool, storage
from tests.support.clients import OTHER, Sandbox, Visitor, audited, quick_connect, work, work_as_if_later
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.troubled_connections import pass_time, state, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
EXCHANGE = "/integration/ExchangeToken"


@pytest.fixture
def connected(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    connection = quick_connect(acme, sandbox, by=alice)
    sandbox.control("DELETE", "log")
    return connection


def sealed() -> list[bytes]:
    rows = TokenPair.objects.values_list("sealed_access", "sealed_refresh")
    return [bytes(value) for row in rows for value in row if value]


def left_in_files(needles: list[bytes]) -> int:
    """How many of these the database's files hold, its write-ahead log included."""
    files = [Path(f"{database.settings_dict['NAME']}{ending}") for ending in ("", "-wal")]
    content = b"".join(file.read_bytes() for file in files if file.exists())
    return sum(needle in content for needle in needles)


def press(visit: Visit, person: User, connection: Connection) -> str:
    """Presses Disconnect; returns the page that follows."""
    where = f"/c/{connection.customer.code}/connections/{connection.code}/disconnect/"
    return visit(person).post(where, follow=True).content.decode()


def live(sandbox: Sandbox) -> list[str]:
    """The access tokens that SnapInspect accepts."""
    return [token["token"] for token in sandbox.tokens() if token["live"] and token["kind"] == "access"]


def test_T9_where_snapinspect_answers_the_old_tokens_are_dead_and_the_page_says_so(
    sandbox: Sandbox, visit: Visit, alice: User, connected: Connection
) -> None:
    stored = sealed()
    (old,) = live(sandbox)
    assert sandbox.accepts(old)

    page = press(visit, alice, connected)

    assert not sandbox.accepts(old)
    assert "was ended at SnapInspect and deleted here" in page
    assert (sandbox.exchanges(), TokenPair.objects.count(), state(connected)) == (1, 0, State.DISCONNECTED)
    answer = "old tokens 401, erased"
    if database.vendor == "sqlite":
        answer += f", {left_in_files(stored)} of {len(stored)} ciphertexts left in the files"
        assert left_in_files(stored) == 0
    record("T9", "disconnect; SnapInspect answers", answer)


@pytest.mark.parametrize("fault", ["hang", "close", "status"])
def test_T9_whatever_snapinspect_does_the_tokens_are_erased_within_ten_seconds_and_the_page_says_what_is_proven(
    fault: str, sandbox: Sandbox, visit: Visit, alice: User, connected: Connection
) -> None:
    stored = sealed()
    sandbox.fault(EXCHANGE, fault, times=None)
    begun = time.monotonic()

    page = press(visit, alice, connected)

    took = time.monotonic() - begun
    words = {"hang": "hangs", "close": "closes", "status": "answers 500"}[fault]
    record("T9", f"disconnect; SnapInspect {words}", f"erased after {took:.1f} s, and said so")
    assert took < size(18.0, 10.0), "an exchange that hangs is given up after 20 s otherwise"
    assert "SnapInspect did not confirm" in page
    assert (TokenPair.objects.count(), state(connected)) == (0, State.DISCONNECTED)
    if database.vendor == "sqlite":
        assert left_in_files(stored) == 0


def test_T9_an_exchange_on_its_way_is_not_called_ended(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection
) -> None:
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connected)))
    candidate = lease.claim_candidate(TokenPair.objects.candidates().get().pk)
    assert candidate is not None

    page = press(visit, alice, connected)

    assert len(live(sandbox)) == 2, "the candidate's, and one that was thrown away unseen"
    assert "SnapInspect did not confirm" in page
    with pytest.raises(lease.LostLease):
        candidate.write(error_kind="late")


def test_T9_who_disconnects_while_a_worker_connects_has_the_last_word(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = visit(alice)
    back = sandbox.decide(browser.start_connect(acme, connection=connected))
    hold = lease.claim_for_revocation

    def hold_after_the_worker(connection: Connection) -> Any:
        browser.open_callback(back)
        work()
        assert state(connection) == State.CONNECTED
        return hold(connection)

    monkeypatch.setattr(lease, "claim_for_revocation", hold_after_the_worker)
    press(visit, alice, connected)

    assert (state(connected), TokenPair.objects.count()) == (State.DISCONNECTED, 0)


def test_T9_what_was_about_to_connect_when_a_killed_disconnect_began_does_not_and_is_erased(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection
) -> None:
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connected)))
    in_hand = lease.claim_candidate(TokenPair.objects.candidates().get().pk)
    disconnection.mark_disconnected(connected, by=alice)
    assert in_hand is not None
    with pytest.raises(lease.LostLease):
        in_hand.promote()
    TokenPair.objects.update(lease_until=None)

    work_as_if_later()
    assert (state(connected), TokenPair.objects.count()) == (State.DISCONNECTED, 2)

    pass_time(timedelta(seconds=11))
    jobs.sweep()
    work_until_idle()
    assert (state(connected), TokenPair.objects.count()) == (State.DISCONNECTED, 0)


def test_T9_a_check_that_was_under_way_does_not_undo_a_disconnect(
    sandbox: Sandbox, alice: User, connected: Connection
) -> None:
    meanwhile = Connection.objects.get(pk=connected.pk)
    disconnection.disconnect(Connection.objects.get(pk=connected.pk), by=alice)

    meanwhile.move_to(State.CONNECTED)
    assert state(connected) == State.DISCONNECTED
    meanwhile = Connection.objects.get(pk=connected.pk)
    health_check.check(meanwhile)
    assert state(connected) == State.DISCONNECTED


def test_T9_a_disconnected_connection_can_be_connected_again(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection
) -> None:
    press(visit, alice, connected)
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connected)))
    work()

    assert state(connected) == State.CONNECTED
    assert api_client.get(connected, "user").status == 200


def test_T9_the_disconnect_of_one_connection_leaves_the_others_alone(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection
) -> None:
    other = quick_connect(acme, sandbox, by=alice, account=OTHER)

    press(visit, alice, connected)
    work_as_if_later()

    assert state(other) == State.CONNECTED
    assert api_client.get(other, "user").status == 200


def test_T9_what_a_killed_disconnect_leaves_behind_is_erased_by_the_sweep(
    sandbox: Sandbox, alice: User, connected: Connection
) -> None:
    stored = sealed()
    disconnection.mark_disconnected(connected, by=alice)
    jobs.sweep()
    work_until_idle()
    assert TokenPair.objects.count() == 1, "whoever disconnects may still be at it"

    pass_time(timedelta(seconds=11))
    jobs.sweep()
    work_until_idle()

    assert TokenPair.objects.count() == 0
    assert audited("tokens.erased") == 1
    if database.vendor == "sqlite":
        assert left_in_files(stored) == 0


def test_T9_a_call_that_is_refused_while_a_disconnect_erases_takes_no_lease(
    sandbox: Sandbox, alice: User, connected: Connection
) -> None:
    """It could claim the pair again and again without a pause, and keep the disconnect from its last exchange."""
    pair = custody.current_pair(connected)
    assert pair is not None
    custody.schedule_erasure(connected)
    assert lease.claim_current(*pair) is None
    disconnection.disconnect(connected, by=alice)
    with pytest.raises(renewal.NotRenewed) as caught:
        renewal.renew(connected, refused=pair)
    assert caught.value.error_kind == "nothing_kept"


def test_T9_a_pair_that_arrives_after_the_disconnect_is_not_kept(
    sandbox: Sandbox, alice: User, connected: Connection
) -> None:
    held = lease.claim_current(*(custody.current_pair(connected) or (0, 0)))
    assert held is not None
    disconnection.disconnect(connected, by=alice)

    with pytest.raises(lease.LostLease):
        held.exchange()

    assert (TokenPair.objects.count(), state(connected)) == (0, State.DISCONNECTED)
    assert TokenPair.objects.filter(lease_until__gt=Now()).count() == 0


def spooled(connection: Connection) -> spool.Slot:
    """What an exchange of the pair in use has brought, on the disk of a host that did not get to commit it."""
    row = TokenPair.objects.current().select_related("connection").get(connection=connection)
    slot = spool.reserve(row.pk, row.version)
    fresh = token_pair.TokenPair(**{f"{kind}": "x" * 40 for kind in ("access", "refresh")})
    slot.fill(storage.to_spool(row, storage.columns(fresh, connection)))
    return slot


@pytest.mark.parametrize("meanwhile", ["disconnected", "disconnected, connected again", "connected anew in its place"])
def test_what_a_host_that_was_away_brings_from_before_replaces_no_fresh_grant(
    meanwhile: str, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection
) -> None:
    slot = spooled(connected)
    away = slot.path.rename(slot.path.with_suffix(".away"))
    if "disconnected" in meanwhile:
        press(visit, alice, connected)
    if "connected a" in meanwhile:
        browser = visit(alice)
        browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connected)))
        work()
        assert state(connected) == State.CONNECTED
    before = list(TokenPair.objects.values_list("pk", "version", "fingerprint"))

    away.rename(slot.path)
    jobs.sweep()
    work_until_idle()

    assert list(TokenPair.objects.values_list("pk", "version", "fingerprint")) == before
    assert not slot.path.exists()
    refused = AuditEntry.objects.get(kind="tokens.refused", subject=connected.code)
    assert refused.detail["reason"] == ("disconnected" if "disconnected" in meanwhile else "connected_anew")


def test_a_disconnect_frees_what_this_host_keeps_on_disk(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connected: Connection
) -> None:
    other = quick_connect(acme, sandbox, by=alice, account=OTHER)
    slot, others = spooled(connected), spooled(other)

    press(visit, alice, connected)

    assert (slot.path.exists(), others.path.exists()) == (False, True)
    others.free()

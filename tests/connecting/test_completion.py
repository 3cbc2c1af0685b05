"""From the callback to Connected, through everything that SnapInspect or our own machines may do on the way."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.db import connections, transaction
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.connecting import completion
from integrations.models import ConnectAttempt, Connection, State, TokenPair
from integrations.snapinspect.token_pair import TokenPair as TokenPairOf
from integrations.snapinspect.token_pair import fingerprint
from integrations.tokens import custody, lease
from tests.support.clients import Sandbox, Visitor, audited, everything_kept, work, work_as_if_later
from tests.support.wait import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
EXCHANGE = "/integration/ExchangeToken"
UNKNOWN_COMPANY = "701"


@pytest.fixture
def returned(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    """Alice is back from SnapInspect, and no worker has done anything yet."""
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme)))
    return acme.connections.get()


def badge(connection: Connection) -> State:
    return Connection.objects.get(pk=connection.pk).badge


def works(connection: Connection) -> bool:
    return custody.client_for(connection).user().company_id is not None


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "900"}},
        {"kind": "status", "status": 403},
        {"kind": "close"},
        {"kind": "html"},
        {"kind": "cut"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
def test_an_api_that_is_down_is_trouble_and_ends_by_itself(
    fault: dict[str, Any], sandbox: Sandbox, returned: Connection
) -> None:
    sandbox.fault("/user", times=None, **fault)
    work()
    assert badge(returned) == State.TROUBLE
    assert sandbox.exchanges() == 0
    work()
    assert len(sandbox.calls("/user")) <= 4, "the next try did not wait"

    sandbox.clear_faults()
    work_as_if_later()
    assert badge(returned) == State.CONNECTED


def test_who_comes_back_while_a_worker_settles_the_pair_before_waits_for_it_or_it_for_them(
    sandbox: Sandbox, returned: Connection, alice: User
) -> None:
    pair = TokenPair.objects.get()
    TokenPair.objects.update(proved_at=Now(), exchanged_at=Now(), profile={"company_id": "6847"})
    granted = sandbox.grant()
    attempt = ConnectAttempt.objects.create(
        state_hash="x", session_hash="", user=alice, customer=returned.customer, connection=returned, issued_at=Now()
    )

    def worker() -> None:
        try:
            completion.finish(pair.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            lease.lock_connection(returned)  # as `tokens.receive` does first
            settling = pool.submit(worker)
            if database.vendor == "postgresql":
                wait_until(lambda: bool(waiting_for_locks()))
            custody.receive(attempt, TokenPairOf(granted["access_token"], granted["refresh_token"]))
        settling.result()
    assert TokenPair.objects.candidates().get().brought_by == alice


def waiting_for_locks() -> int:
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("kind", ["lost_answer", "unavailable_after_work"])
def test_R2_a_lost_answer_is_found_again_where_the_old_refresh_token_is_honoured_once(
    kind: str, sandbox: Sandbox, returned: Connection
) -> None:
    sandbox.mode("grace")
    sandbox.fault(EXCHANGE, kind)

    work()

    assert badge(returned) == State.CONNECTED
    assert works(returned)
    assert sandbox.exchanges() == 2


def test_R2_a_lost_answer_under_a_strict_vendor_needs_a_person_after_two_exchanges(
    sandbox: Sandbox, returned: Connection
) -> None:
    sandbox.fault(EXCHANGE, "lost_answer")

    work()
    work_as_if_later()

    assert badge(returned) == State.NEEDS_RECONNECT
    assert sandbox.exchanges() == 2
    assert audited("connect.failed") == 1
    assert TokenPair.objects.count() == 0


@pytest.mark.parametrize("kind", ["close", "status"])
def test_an_exchange_that_did_not_happen_is_tried_again_later(
    kind: str, sandbox: Sandbox, returned: Connection
) -> None:
    sandbox.fault(EXCHANGE, kind, **({"status": 503} if kind == "status" else {}))

    work()
    assert badge(returned) == State.TROUBLE
    work_as_if_later()

    assert badge(returned) == State.CONNECTED
    assert works(returned)


@pytest.mark.parametrize("kind", ["html", "null_token", "missing_token", "missing_refresh"])
def test_R6_an_answer_without_two_tokens_overwrites_nothing(kind: str, sandbox: Sandbox, returned: Connection) -> None:
    before = bytes(TokenPair.objects.get().sealed_refresh)
    sandbox.mode("grace")
    sandbox.fault("/user", "status", times=None, status=503)
    completion.finish(TokenPair.objects.get().pk)
    sandbox.clear_faults()
    sandbox.fault(EXCHANGE, kind, times=None)

    work_as_if_later()

    pair = TokenPair.objects.filter().first()
    assert pair is None or bytes(pair.sealed_refresh) == before


@pytest.mark.parametrize("kind", ["wrong_state", "wrong_type", "duplicate_keys"])
def test_R6_an_odd_answer_with_two_tokens_is_saved(kind: str, sandbox: Sandbox, returned: Connection) -> None:
    sandbox.fault(EXCHANGE, kind)

    work()

    assert badge(returned) == State.CONNECTED
    assert works(returned)
    assert sandbox.exchanges() == 1


def test_credentials_that_snapinspect_refuses_are_a_setup_problem_until_they_are_right(
    sandbox: Sandbox, returned: Connection, settings: Settings
) -> None:
    right = settings.SNAPINSPECT_CLIENT_SECRET
    settings.SNAPINSPECT_CLIENT_SECRET = "not the registered one"
    work()
    assert badge(returned) == State.SETUP_PROBLEM

    settings.SNAPINSPECT_CLIENT_SECRET = right
    work_as_if_later()
    assert badge(returned) == State.CONNECTED


def test_a_pair_that_the_api_refuses_twice_needs_a_person(sandbox: Sandbox, returned: Connection) -> None:
    sandbox.fault("/user", "status", times=None, status=401)

    work()

    assert badge(returned) == State.NEEDS_RECONNECT
    assert sandbox.exchanges() == 0


def test_a_single_401_is_not_believed(sandbox: Sandbox, returned: Connection) -> None:
    sandbox.fault("/user", "status", times=1, status=401)

    work()

    assert badge(returned) == State.CONNECTED


def test_a_company_that_user_does_not_name_is_not_known_yet(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox, account=UNKNOWN_COMPANY)

    assert connection.badge == State.CONNECTED
    assert connection.company_id == ""
    assert "Company not known yet" in browser.get(f"/c/{acme.code}/").text


def test_without_exchange_on_connect_the_pair_is_kept_as_it_came(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, settings: Settings
) -> None:
    settings.SNAPINSPECT_EXCHANGE_ON_CONNECT = False

    assert visit(alice).connect(acme, sandbox).badge == State.CONNECTED
    assert sandbox.exchanges() == 0


def test_a_failed_reconnect_leaves_what_worked(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    in_use = TokenPair.objects.current().get().fingerprint
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection)))
    sandbox.fault("/user", "status", times=2, status=401)

    work()

    assert badge(connection) == State.CONNECTED
    assert TokenPair.objects.get().fingerprint == in_use
    assert works(connection)


def test_a_worker_that_was_killed_is_followed_by_another_when_its_lease_has_run_out(
    sandbox: Sandbox, returned: Connection
) -> None:
    pair = TokenPair.objects.get()
    dead = lease.claim_candidate(pair.pk)
    assert dead is not None

    work()
    assert badge(returned) == State.CONNECTING, "the lease was not respected"
    TokenPair.objects.update(lease_until=Now() - timedelta(seconds=1))
    jobs.sweep()
    assert jobs.due() == 1
    work()

    assert badge(returned) == State.CONNECTED


def test_a_worker_killed_after_the_exchange_was_sent_is_followed_by_a_probe_not_by_a_blind_exchange(
    sandbox: Sandbox, returned: Connection
) -> None:
    TokenPair.objects.update(proved_at=Now(), exchange_sent_at=Now(), exchange_sends=1)

    work()
    work_as_if_later()

    assert badge(returned) == State.CONNECTED
    order = [call["path"] for call in sandbox.calls()]
    assert order.index("/user") < order.index(EXCHANGE)
    assert sandbox.exchanges() == 1


def test_a_holder_that_wakes_up_late_cannot_write(sandbox: Sandbox, returned: Connection) -> None:
    pair = TokenPair.objects.get()
    frozen = lease.claim_candidate(pair.pk)
    assert frozen is not None
    TokenPair.objects.update(lease_until=Now() - timedelta(seconds=1))
    work()
    assert badge(returned) == State.CONNECTED
    after = everything_kept()

    with pytest.raises(lease.LostLease):
        frozen.write(error_kind="late")
    with pytest.raises(lease.LostLease):
        frozen.discard()
    frozen.__exit__()

    assert everything_kept() == after


def test_disconnecting_while_connecting_stops_it(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, returned: Connection
) -> None:
    fingerprints = set(TokenPair.objects.values_list("fingerprint", flat=True))
    visit(alice).post(f"/c/{acme.code}/connections/{returned.code}/disconnect/")
    work_as_if_later()

    assert badge(returned) == State.DISCONNECTED
    assert TokenPair.objects.count() == 0
    assert sandbox.exchanges() == 1, "the last exchange, which ends the access"
    assert not [token for token in sandbox.tokens() if token["live"] and fingerprint(token["token"]) in fingerprints]

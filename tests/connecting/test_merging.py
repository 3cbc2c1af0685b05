"""A connection that turns out to be of a company that the customer has connected already: what came for it is kept."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from threading import Barrier, BrokenBarrierError

import pytest
from django.db import connection as database
from django.db import connections, transaction
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.connecting import completion
from integrations.events import handlers, routing, webhook_addresses
from integrations.events.parsed_deliveries import ParsedDelivery
from integrations.models import Connection, Delivery, Event, State, TokenPair
from integrations.snapinspect.token_pair import TokenPair as Tokens
from integrations.tokens import custody, encryption, lease, storage
from tests.support.clients import PAT, Sandbox, Visitor, quick_connect, work, work_as_if_later
from tests.support.deliveries import payload, post, state_of

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
OTHER_KEYS = encryption.parse_keys(base64.b64encode(b"k" * 32).decode())


@pytest.fixture
def twin(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    """Acme's connection to the company that a second one will turn out to be of."""
    return quick_connect(acme, sandbox, by=alice)


@pytest.fixture
def provisional(twin: Connection, visit: Visit, alice: User, acme: Customer) -> Connection:
    """A connection that waits for its personal token, with a webhook address of its own."""
    visit(alice).post(f"/c/{acme.code}/personal/")
    return acme.connections.exclude(pk=twin.pk).get()


def paste(browser: Visitor, connection: Connection, sandbox: Sandbox) -> None:
    token = sandbox.control("POST", "personal", {"account": PAT})["token"]
    browser.post(f"/c/{connection.customer.code}/connections/{connection.code}/token/", {"token": token})


def test_what_came_to_the_address_of_a_provisional_connection_moves_to_the_one_its_company_has(
    sandbox: Sandbox, visit: Visit, alice: User, twin: Connection, provisional: Connection, acme: Customer
) -> None:
    heard: list[tuple[int, str]] = []
    handlers.on("*")(lambda happening: heard.append((happening.connection.pk, happening.type)))
    address = webhook_addresses.issue(provisional)
    for body in (payload("Waiting"), b"rubbish"):
        post(body, secret=address)
    work()
    waiting = Event.objects.get()
    waiting.timeline.create(error_kind="nothing_kept", duration=timedelta())
    ignored = Event.objects.create(
        connection=provisional, type="Old", body_sha256="0", received_at=Now(), state=Event.State.IGNORED
    )
    post(payload("Just_In"), secret=address)
    paste(visit(alice), provisional, sandbox)
    work()

    assert list(acme.connections.values_list("pk", "state")) == [(twin.pk, State.CONNECTED)]
    assert Delivery.objects.count() == 3
    assert set(Delivery.objects.values_list("connection", flat=True)) == {twin.pk}
    assert state_of(waiting) == "done" and waiting.timeline.count() == 2
    assert state_of(ignored) == "ignored"
    assert sorted(heard) == [(twin.pk, "Just_In"), (twin.pk, "Waiting")]
    assert post(payload("Afterwards"), secret=address).status_code == 200
    work()
    assert heard[-1] == (twin.pk, "Afterwards")


def test_a_delivery_that_is_routed_while_its_connection_is_deleted_is_routed_again(
    twin: Connection, provisional: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(payload(), secret=webhook_addresses.issue(provisional))
    find = routing._find_connections

    def find_before_the_end(deliveries: list[ParsedDelivery]) -> None:
        find(deliveries)
        monkeypatch.setattr(routing, "_find_connections", find)
        Delivery.objects.update(connection=twin)
        Connection.objects.filter(pk=provisional.pk).delete()

    monkeypatch.setattr(routing, "_find_connections", find_before_the_end)
    assert routing.route_batch() == 0
    assert routing.route_batch() == 1
    assert Event.objects.get().connection == twin


def test_an_address_that_no_key_opens_any_more_moves_and_works(
    sandbox: Sandbox, visit: Visit, alice: User, twin: Connection, provisional: Connection, settings: Settings
) -> None:
    address = webhook_addresses.issue(provisional)
    settings.TOKEN_ENCRYPTION_KEYS = OTHER_KEYS
    paste(visit(alice), provisional, sandbox)
    work()

    assert not Connection.objects.filter(pk=provisional.pk).exists()
    assert post(payload(), secret=address).status_code == 200
    assert Delivery.objects.get().connection == twin


def test_a_candidate_that_no_key_opens_any_more_is_a_setup_problem_and_tried_slowly(
    sandbox: Sandbox,
    alice: User,
    twin: Connection,
    provisional: Connection,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with transaction.atomic():
        custody.receive_personal(provisional, sandbox.grant()["access_token"], by=alice)
    TokenPair.objects.candidates().update(proved_at=Now(), exchanged_at=Now(), profile={"company_id": twin.company_id})
    keys = settings.TOKEN_ENCRYPTION_KEYS
    settings.TOKEN_ENCRYPTION_KEYS = OTHER_KEYS
    work()

    candidate = TokenPair.objects.candidates().get()
    assert Connection.objects.get(pk=provisional.pk).badge == State.SETUP_PROBLEM
    assert (candidate.error_kind, candidate.tries) == ("cannot_unseal", 1)
    work()
    assert TokenPair.objects.candidates().get().tries == 1, "the next try did not wait"
    assert "Traceback" not in caplog.text

    settings.TOKEN_ENCRYPTION_KEYS = keys
    work_as_if_later()
    assert list(alice.memberships.get().customer.connections.all()) == [twin]


def test_two_customers_of_one_company_that_reconnect_at_once_do_not_wait_for_each_other(
    sandbox: Sandbox, alice: User, charlie: User, twin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = quick_connect(charlie.memberships.get().customer, sandbox, by=charlie)
    pairs = []
    for connection, person in ((twin, alice), (theirs, charlie)):
        granted = sandbox.grant()
        sealed = storage.columns(Tokens(granted["access_token"], granted["refresh_token"]), connection)
        with transaction.atomic():
            custody.receive_exchanged(connection, sealed, by=person)
        pairs.append(TokenPair.objects.candidates().get(connection=connection).pk)
    both_have_locked = Barrier(2)
    lock = lease.lock_connection

    def lock_and_wait(connection: Connection) -> None:
        lock(connection)
        if database.vendor == "postgresql":  # SQLite has one writer at a time
            with suppress(BrokenBarrierError):  # the other one waits for this row, before its own transaction
                both_have_locked.wait(2)

    def finish(pk: int) -> None:
        try:
            completion.finish(pk)
        finally:
            connections.close_all()

    monkeypatch.setattr(lease, "lock_connection", lock_and_wait)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(finish, pairs))

    assert not TokenPair.objects.candidates().exists()
    assert sorted(TokenPair.objects.current().values_list("pk", flat=True)) == sorted(pairs)

"""Row T8, and what keeps tokens where they belong: nothing shows them, nothing writes over them."""

import copy
import json
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import serializers
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection as database
from requests import PreparedRequest

from accounts.models import Customer, User
from integrations.models import ConnectAttempt, Connection, ConnectionTest, TokenPair
from integrations.snapinspect import token_pair
from integrations.snapinspect.transport import Reply, Transport
from integrations.tokens import custody, lease
from tests.support.clients import OTHER, Sandbox, Visitor, badge, work, work_as_if_later
from tests.support.secret_scan import found_in

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


@pytest.fixture
def connected(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    return visit(alice).connect(acme, sandbox)


def test_T8_however_one_looks_at_it_no_token_is_to_be_seen(
    connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme), account=OTHER))
    ConnectionTest.objects.create(connection=connected, by=alice, duration=timedelta())
    minted = [str(token["token"]) for token in sandbox.tokens()]
    candidate = TokenPair.objects.candidates().get()
    held = lease.claim_candidate(candidate.pk)
    assert held is not None
    lent = custody.client_for(connected)
    rows: list[Any] = [*Connection.objects.all(), *TokenPair.objects.all(), *ConnectAttempt.objects.all()]

    with held:
        things = [*rows, held, held.pair, lent, held.client(), token_pair.TokenPair(minted[0], minted[1])]
        for thing in things:
            for seen in (
                repr(thing),
                str(thing),
                f"{thing}",
                f"{thing!r:>200}",
                "%s" % [thing],
                json.dumps(str(thing)),
            ):
                assert found_in(seen.encode(), minted) == [], type(thing)
            for serialise in (pickle.dumps, copy.deepcopy):
                try:
                    made = serialise(thing)
                except TypeError:
                    continue
                assert found_in(made if isinstance(made, bytes) else repr(made).encode(), minted) == [], type(thing)
    for seen in (serializers.serialize("json", rows), str([row.__dict__ for row in rows])):
        assert found_in(seen.encode(), minted) == []
    with pytest.raises(TypeError):
        pickle.dumps(lent)
    with pytest.raises(TypeError):
        pickle.dumps(token_pair.TokenPair(minted[0], minted[1]))
    for model in (Connection, ConnectAttempt):
        assert found_in(json.dumps(list(model.objects.values()), cls=DjangoJSONEncoder).encode(), minted) == []


def test_T8_the_admin_shows_six_digits_of_a_fingerprint_and_neither_token_nor_ciphertext(
    connected: Connection, sandbox: Sandbox, visit: Visit
) -> None:
    staff = visit(User.objects.create_superuser("staff@example.com", "correct horse battery"))
    row = TokenPair.objects.get()
    minted = [str(token["token"]) for token in sandbox.tokens()]
    pages = b""
    for path in ("connection/", f"connection/{connected.pk}/change/", "connectattempt/", "connectiontest/"):
        answer = staff.get(f"/admin/integrations/{path}")
        assert answer.status_code == 200
        pages += answer.content
    pages += staff.get(f"/admin/integrations/connectattempt/{ConnectAttempt.objects.get().pk}/change/").content

    assert row.fingerprint.encode() in pages
    assert found_in(pages, minted) == []
    for sealed in (row.sealed_access, row.sealed_refresh):
        assert bytes(sealed)[:40] not in pages
    attempt = ConnectAttempt.objects.get()
    assert attempt.state_hash.encode() not in pages
    assert attempt.session_hash.encode() not in pages


def test_a_stored_pair_cannot_be_saved_over(connected: Connection) -> None:
    row = TokenPair.objects.get()
    row.sealed_access = b"something else"

    for save in (row.save, row.save_base):
        with pytest.raises(TypeError):
            save()
    with pytest.raises(TypeError):
        row.save(update_fields=["sealed_access"])
    with pytest.raises(TypeError):
        TokenPair.objects.update_or_create(pk=row.pk, defaults={"sealed_access": b"something else"})
    assert custody.client_for(connected).user()


def test_saving_a_connection_that_was_read_earlier_brings_no_old_token_back(
    connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    stale = Connection.objects.select_related("customer").prefetch_related("pairs").get(pk=connected.pk)
    assert list(stale.pairs.all())
    visit(alice).connect(acme, sandbox)
    kept = TokenPair.objects.get()

    stale.save()

    row = TokenPair.objects.get()
    assert (row.pk, row.version, bytes(row.sealed_access)) == (kept.pk, kept.version, bytes(kept.sealed_access))
    assert custody.client_for(connected).user()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The path of every request to SnapInspect, and whether a transaction was open. It is sent as always."""
    send: Callable[..., Reply] = Transport.send
    paths = []

    def watched(self: Transport, request: PreparedRequest, **how: Any) -> Reply:
        paths.append((request.path_url, database.in_atomic_block))
        return send(self, request, **how)

    monkeypatch.setattr(Transport, "send", watched)
    return paths


def test_no_transaction_is_open_while_snapinspect_is_called(
    sent: list[tuple[str, bool]], sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    browser.look(connection)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection)))
    work()
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection), account=OTHER))
    work()
    where = f"/c/{acme.code}/connections/{connection.code}/"
    browser.post(f"{where}answer/", {"answer": "add"})
    sandbox.control("POST", "revoke_all", {"kind": "access"})
    work_as_if_later()
    browser.post(f"{where}disconnect/")
    work()

    assert badge(connection) == "Disconnected"
    assert [path for path, in_transaction in sent if in_transaction] == []
    paths = [path for path, _ in sent]
    assert paths.count("/integration/ExchangeToken") >= 3
    assert paths.count("/user") >= 8


def test_disconnecting_erases_every_token_of_the_connection(
    connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connected)))
    assert TokenPair.objects.filter(connection=connected).count() == 2

    browser.post(f"/c/{acme.code}/connections/{connected.code}/disconnect/")
    work()

    assert not TokenPair.objects.exists()
    assert badge(connected) == "Disconnected"
    with pytest.raises(custody.NoTokens):
        custody.client_for(connected)

"""Rows T5, T6, T8 and O7 of the score card: tokens are readable in one room only, and by nobody who steals the rest."""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.db import connection as database
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.models import Connection, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody
from integrations.tokens.encryption import CannotUnseal, KeyContext, parse_keys, seal, unseal
from tests.support.clients import OTHER, Sandbox, Visitor, badge, work, work_as_if_later
from tests.support.secret_scan import found_in

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]

OTHER_KEY = "YW5vdGhlciBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE="


@pytest.fixture
def connected(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    return visit(alice).connect(acme, sandbox)


@pytest.fixture
def three(
    connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, charlie: User
) -> list[Connection]:
    """Two connections of one customer and one of another."""
    second = visit(alice).connect(acme, sandbox, account=OTHER)
    return [connected, second, visit(charlie).connect(charlie.customers.get(), sandbox)]


def dump() -> bytes:
    """Every cell of every table, sessions decoded: what a thief of the database has, and no key."""
    cells = []
    with database.cursor() as cursor:
        for table in database.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {database.ops.quote_name(table)}")
            cells += [cell for row in cursor.fetchall() for cell in row]
    cells += [session.get_decoded() for session in Session.objects.all()]
    return b"\n".join(bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode() for cell in cells)


def test_T5_a_stolen_database_holds_no_token_in_any_spelling(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, three: list[Connection]
) -> None:
    visit(alice).start_connect(acme, connection=three[0])
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme)))  # one more pair, still on its way
    minted = [str(token["token"]) for token in sandbox.tokens()]
    assert len(minted) > 10
    stolen = dump()

    assert b"pat@harbour.example" in stolen, "the dump is not what it should be"
    assert found_in(stolen, minted) == []
    if database.vendor == "sqlite":
        files = [Path(str(database.settings_dict["NAME"]) + ending) for ending in ("", "-wal")]
        assert found_in(b"".join(file.read_bytes() for file in files if file.exists()), minted) == []


def test_T5_a_ciphertext_opens_nowhere_but_where_it_was_sealed(three: list[Connection]) -> None:
    sealed: dict[KeyContext, bytes] = {}
    for row in TokenPair.objects.current().select_related("connection"):
        where = row.connection.customer_id, row.connection_id
        sealed[KeyContext(*where, "access")] = bytes(row.sealed_access)
        sealed[KeyContext(*where, "refresh")] = bytes(row.sealed_refresh)
    assert len({place.customer for place in sealed}) == 2
    assert len(sealed) == 6

    for place, ciphertext in sealed.items():
        assert unseal(ciphertext, place)
    for here, there in permutations(sealed, 2):
        with pytest.raises(CannotUnseal):
            unseal(sealed[here], there)


def test_T5_tokens_swapped_in_the_database_are_used_for_nobody(
    three: list[Connection], sandbox: Sandbox, visit: Visit, charlie: User
) -> None:
    rows = {row.connection_id: row for row in TokenPair.objects.current()}
    for mine, theirs in permutations(three, 2):
        swapped = TokenPair.objects.filter(connection=mine)
        swapped.update(sealed_access=rows[theirs.pk].sealed_access, sealed_refresh=rows[theirs.pk].sealed_refresh)
        with pytest.raises(CannotUnseal):
            custody.client_for(mine)
    sandbox.control("DELETE", "log")

    visit(charlie).look(three[2])
    work_as_if_later()

    assert badge(three[2]) == "Setup problem"
    assert sandbox.calls() == []


def test_what_stands_in_the_columns_is_ciphertext_and_never_the_same_twice(connected: Connection) -> None:
    with database.cursor() as cursor:
        cursor.execute("SELECT sealed_access, sealed_refresh, fingerprint FROM integrations_tokenpair")
        ((access, refresh, fingerprint),) = cursor.fetchall()
    place = KeyContext(connected.customer_id, connected.pk, "access")
    token = unseal(access, place)

    assert bytes(access)[:4] == bytes(refresh)[:4] == b"gAAA"  # Fernet's version and the upper bits of its clock
    assert token.encode() not in bytes(access)
    assert seal(token, place).ciphertext != seal(token, place).ciphertext
    assert fingerprint == token_pair.fingerprint(token)
    assert len(fingerprint) == 6
    assert fingerprint not in token


def test_T6_a_token_with_any_byte_changed_is_refused(connected: Connection) -> None:
    row = TokenPair.objects.current().get(connection=connected)
    place = KeyContext(connected.customer_id, connected.pk, "access")
    whole = bytes(row.sealed_access)

    for position in range(len(whole)):
        # 0x06 and 0x70 make "+" and "/" of "-" and "_": other spellings of the same base64.
        for flip in (0x01, 0x06, 0x20, 0x70, 0xFF):
            altered = bytearray(whole)
            altered[position] ^= flip
            with pytest.raises(CannotUnseal):
                unseal(bytes(altered), place)
    for altered_length in (*(whole[:cut] for cut in range(len(whole))), whole + b"=", whole + b"\n", b" " + whole):
        with pytest.raises(CannotUnseal):
            unseal(altered_length, place)


@pytest.mark.parametrize("column", ["sealed_access", "sealed_refresh"])
def test_T6_a_spoilt_token_is_a_setup_problem_of_its_own_connection_and_of_no_other(
    column: str, three: list[Connection], sandbox: Sandbox, visit: Visit, alice: User, charlie: User
) -> None:
    spoilt, *others = three
    row = TokenPair.objects.filter(connection=spoilt)
    altered = bytearray(getattr(row.get(), column))
    altered[100] ^= 1
    row.update(**{column: bytes(altered)})

    visit(alice).look(spoilt)
    work_as_if_later()
    for connection in others:
        visit(charlie if connection.customer_id != spoilt.customer_id else alice).look(connection)

    # A refresh token is only opened when it is needed.
    assert badge(spoilt) == ("Setup problem" if column == "sealed_access" else "Connected")
    assert [badge(connection) for connection in others] == ["Connected", "Connected"]
    where = f"/c/{spoilt.customer.code}/"
    ended = visit(alice).post(f"{where}connections/{spoilt.code}/disconnect/", follow=True)
    assert ended.status_code == 200
    work()
    assert badge(spoilt) == "Disconnected"
    assert not TokenPair.objects.filter(connection=spoilt).exists()


def test_O7_with_a_wrong_key_nothing_is_sent_or_overwritten_and_all_is_well_when_the_right_one_is_back(
    connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, settings: Settings
) -> None:
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme), account=OTHER))  # its pair waits to be proven
    kept = sorted(TokenPair.objects.values_list("pk", "sealed_access", "sealed_refresh", "version"))
    right = settings.TOKEN_ENCRYPTION_KEYS
    settings.TOKEN_ENCRYPTION_KEYS = parse_keys(OTHER_KEY)
    sandbox.control("DELETE", "log")

    browser.look(connected)
    for _ in range(3):
        work_as_if_later()

    assert {badge(connection) for connection in acme.connections.all()} == {"Setup problem"}
    assert "This app is not set up correctly" in browser.get(f"/c/{acme.code}/").text
    assert sandbox.calls() == []
    assert sorted(TokenPair.objects.values_list("pk", "sealed_access", "sealed_refresh", "version")) == kept

    settings.TOKEN_ENCRYPTION_KEYS = right
    work_as_if_later()
    assert {badge(connection) for connection in acme.connections.all()} == {"Connected"}


def test_a_new_first_key_seals_what_is_new_and_the_old_one_still_opens_what_is_old(
    connected: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, settings: Settings
) -> None:
    old, new = settings.TOKEN_ENCRYPTION_KEYS[0], parse_keys(OTHER_KEY)[0]
    settings.TOKEN_ENCRYPTION_KEYS = (new, old)

    assert custody.client_for(connected).user().company_id == connected.company_id
    second = visit(alice).connect(acme, sandbox, account=OTHER)
    assert dict(TokenPair.objects.values_list("connection", "key_id")) == {connected.pk: old.id, second.pk: new.id}

    settings.TOKEN_ENCRYPTION_KEYS = (new,)
    assert custody.client_for(second).user().company_id == second.company_id
    with pytest.raises(CannotUnseal):
        custody.client_for(connected)

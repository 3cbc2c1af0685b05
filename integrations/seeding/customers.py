"""Customers that look like customers: one big, many small, each with an owner, most with a connection and its past."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain

from accounts.models import AuditEntry, Customer, Membership, Role, User
from integrations.models import Check, Connection, Kind, Lane, State, WebhookAddress
from integrations.seeding import rows
from integrations.tokens import custody

# The first customer is the big one.
BIG = 0
CONNECTIONS_OF_THE_BIG_ONE = 8
# How many connections the others have, as a deck of cards.
HOW_MANY = [0] * 3 + [1] * 87 + [2] * 8 + [4] * 2
STATES = (
    [State.CONNECTED] * 84
    + [State.TROUBLE] * 4
    + [State.NEEDS_RECONNECT] * 4
    + [State.DISCONNECTED] * 5
    + [State.CONNECTING] * 2
    + [State.SETUP_PROBLEM]
)
# How long a connection has been in its state, at most.
LASTING = {
    State.TROUBLE: timedelta(hours=6),
    State.NEEDS_RECONNECT: timedelta(days=5),
    State.DISCONNECTED: timedelta(days=45),
    State.CONNECTING: timedelta(hours=1),
    State.SETUP_PROBLEM: timedelta(days=1),
}
ERRORS = {State.TROUBLE: "timeout", State.NEEDS_RECONNECT: "token_refused", State.SETUP_PROBLEM: "exchange_refused"}
WITH_TOKENS = (State.CONNECTED, State.TROUBLE, State.NEEDS_RECONNECT, State.SETUP_PROBLEM)
# SnapInspect does not answer those in trouble: nobody asks it again before this is over.
PAUSE = timedelta(minutes=15)
PLACES = ["Harbour", "Northgate", "Willow", "Station", "Kingsway", "Riverside", "Parkview", "Old Mill", "Chapel", "Elm"]
TRADES = ["Lettings", "Property", "Homes", "Estates", "Rentals", "Block Management", "Housing", "Student Living"]


def add(numbers: range, draw: random.Random, *, now: datetime) -> None:
    """Writes these customers with all that belongs to them, except events."""
    made = [
        Customer(pk=pk, code=rows.code(number), name=_name(number, draw), created_at=_long_ago(draw, now))
        for number, pk in zip(numbers, rows.new_ids(Customer, len(numbers)), strict=True)
    ]
    joined = [customer for customer in made if draw.random() < 0.25]
    ids = iter(rows.new_ids(User, len(made) + len(joined)))
    owners = [_person("owner", customer, next(ids)) for customer in made]
    members = [_person("member", customer, next(ids)) for customer in joined]
    memberships = [
        *(_membership(owner, customer, Role.OWNER) for owner, customer in zip(owners, made, strict=True)),
        *(
            _membership(member, customer, draw.choice([Role.MEMBER, Role.VIEWER]))
            for member, customer in zip(members, joined, strict=True)
        ),
    ]
    connections = list(_connections(list(zip(numbers, made, owners, strict=True)), draw, now))
    for written in (owners + members, made, memberships, connections):
        rows.write(written)
    custody.receive_made_up([connection for connection in connections if connection.state in WITH_TOKENS])
    rows.write([_lane(connection, now) for connection in connections if connection.company_id])
    rows.write([_address(connection, draw) for connection in connections if connection.is_personal])
    rows.write([_check(connection, draw, now) for connection in connections if draw.random() < 0.3])
    rows.write(list(chain.from_iterable(_history(connection, now) for connection in connections)))


def _person(what: str, of: Customer, pk: int) -> User:
    return User(pk=pk, email=f"{what}-{of.code}@seed.example", password="!seeded")  # noqa: S106  (no password opens this)


def _name(number: int, draw: random.Random) -> str:
    return "Big Block Management" if number == BIG else f"{draw.choice(PLACES)} {draw.choice(TRADES)} {number}"


def _membership(user: User, customer: Customer, role: Role) -> Membership:
    return Membership(user=user, customer=customer, role=role, created_at=customer.created_at, daily_digest=False)


def _connections(of: list[tuple[int, Customer, User]], draw: random.Random, now: datetime) -> Iterator[Connection]:
    owned = [
        (customer, owner, number == BIG and place > 0)
        for number, customer, owner in of
        for place in range(CONNECTIONS_OF_THE_BIG_ONE if number == BIG else draw.choice(HOW_MANY))
    ]
    first = rows.following(Connection)
    ids = rows.new_ids(Connection, len(owned))
    for number, (pk, (customer, owner, is_fine)) in enumerate(zip(ids, owned, strict=True), start=first):
        state = State.CONNECTED if is_fine else draw.choice(STATES)
        yield _connection(pk, number, of=customer, owner=owner, state=state, draw=draw, now=now)


def _connection(
    pk: int, number: int, *, of: Customer, owner: User, state: State, draw: random.Random, now: datetime
) -> Connection:
    begun = state == State.CONNECTING
    since = of.created_at if state == State.CONNECTED else now - LASTING[state] * draw.random()
    return Connection(
        pk=pk,
        code=rows.code(number),
        customer=of,
        kind=Kind.PERSONAL if not begun and draw.random() < 0.1 else Kind.CONNECT,
        state=state,
        company_id="" if begun else str(10_000_000 + number),
        company_name="" if begun else f"{draw.choice(PLACES)} {draw.choice(TRADES)}",
        account_name="" if begun else "Pat Seeded",
        account_email="" if begun else owner.email,
        connected_by=owner,
        created_at=since if begun else of.created_at,
        connected_at=None if begun else of.created_at,
        proved_at=None if begun else min(since + timedelta(days=1), now),
        state_since=since,
        error_kind=ERRORS.get(state, ""),
        # Its owners know: nobody is mailed. And nobody asks SnapInspect by itself: next_check_at is empty.
        incident_since=since if state == State.NEEDS_RECONNECT else None,
        tests_since=since,
        disconnects=1 if state == State.DISCONNECTED else 0,
    )


def _lane(connection: Connection, now: datetime) -> Lane:
    paused = {"paused_until": now + PAUSE, "pauses": 3, "pause_kind": "timeout"}
    return Lane(connection=connection, fine_at=now, **(paused if connection.state == State.TROUBLE else {}))


def _address(connection: Connection, draw: random.Random) -> WebhookAddress:
    """An address that nobody can know: the hash of nothing."""
    return WebhookAddress(
        connection=connection, secret_hash=f"{draw.getrandbits(256):064x}", created_at=connection.created_at, key_id=""
    )


def _check(connection: Connection, draw: random.Random, now: datetime) -> Check:
    return Check(
        connection=connection,
        by=connection.connected_by,
        at=now - timedelta(days=80) * draw.random(),
        error_kind=connection.error_kind,
        duration=timedelta(milliseconds=draw.randrange(80, 900)),
        company_id=connection.company_id,
        name=connection.account_name,
    )


def _history(connection: Connection, now: datetime) -> Iterator[AuditEntry]:
    owner, begun = connection.connected_by, connection.created_at

    def entry(kind: str, at: datetime, *, by_owner: bool = True) -> AuditEntry:
        return AuditEntry(
            at=min(at, now),
            customer=connection.customer,
            actor=owner if by_owner else None,
            actor_name=owner.email if owner and by_owner else "",
            kind=kind,
            subject=connection.code,
        )

    yield entry("connect.started", begun)
    if connection.state == State.CONNECTING:
        return
    yield entry("connect.allowed", begun + timedelta(seconds=40))
    yield entry("connect.connected", begun + timedelta(seconds=44), by_owner=False)
    yield entry("tokens.exchanged", begun + timedelta(seconds=44), by_owner=False)
    if connection.state in {State.TROUBLE, State.NEEDS_RECONNECT, State.DISCONNECTED}:
        by_owner = connection.state == State.DISCONNECTED
        yield entry(f"connection.{connection.state}", connection.state_since, by_owner=by_owner)


def _long_ago(draw: random.Random, now: datetime) -> datetime:
    return now - timedelta(days=61) - timedelta(days=340) * draw.random()

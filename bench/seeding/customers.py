"""Seeded customers: a large one and many small ones, each with an owner, most with a connection and its history."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain

from accounts.models import AuditEntry, Customer, Membership, Role, User
from bench.seeding import rows
from bench.seeding.tokens import pair_in_use
from integrations.models import Connection, ConnectionTest, EventQueue, Kind, State, TokenPair, WebhookAddress

# Number of the large customer.
LARGE = 0
CONNECTIONS_OF_LARGE = 8
# Each list below holds a hundred values; one is rngn at random.
# How many connections a small customer has:
CONNECTION_COUNTS = [0] * 3 + [1] * 87 + [2] * 8 + [4] * 2
STATES = (
    [State.CONNECTED] * 84
    + [State.TROUBLE] * 4
    + [State.NEEDS_RECONNECT] * 4
    + [State.DISCONNECTED] * 5
    + [State.CONNECTING] * 2
    + [State.SETUP_PROBLEM]
)
# The longest time that a connection has been in its state.
MAX_TIME_IN_STATE = {
    State.TROUBLE: timedelta(hours=6),
    State.NEEDS_RECONNECT: timedelta(days=5),
    State.DISCONNECTED: timedelta(days=45),
    State.CONNECTING: timedelta(hours=1),
    State.SETUP_PROBLEM: timedelta(days=1),
}
ERRORS = {State.TROUBLE: "timeout", State.NEEDS_RECONNECT: "token_refused", State.SETUP_PROBLEM: "exchange_refused"}
WITH_TOKENS = (State.CONNECTED, State.TROUBLE, State.NEEDS_RECONNECT, State.SETUP_PROBLEM)
# Connections in trouble are backing off for this long.
PAUSE = timedelta(minutes=15)
PLACES = ["Harbour", "Northgate", "Willow", "Station", "Kingsway", "Riverside", "Parkview", "Old Mill", "Chapel", "Elm"]
TRADES = ["Lettings", "Property", "Homes", "Estates", "Rentals", "Block Management", "Housing", "Student Living"]


def add(numbers: range, rng: random.Random, *, now: datetime) -> None:
    """Inserts these customers with everything that belongs to them, except events."""
    customers = [
        Customer(pk=pk, code=rows.code(number), name=_name(number, rng), created_at=_creation_time(rng, now))
        for number, pk in zip(numbers, rows.reserve_ids(Customer, len(numbers)), strict=True)
    ]
    with_member = [customer for customer in customers if rng.random() < 0.25]
    ids = iter(rows.reserve_ids(User, len(customers) + len(with_member)))
    owners = [_user("owner", customer, next(ids)) for customer in customers]
    members = [_user("member", customer, next(ids)) for customer in with_member]
    memberships = [
        *(_membership(owner, customer, Role.OWNER) for owner, customer in zip(owners, customers, strict=True)),
        *(
            _membership(member, customer, rng.choice([Role.MEMBER, Role.VIEWER]))
            for member, customer in zip(members, with_member, strict=True)
        ),
    ]
    connections = list(_connections(list(zip(numbers, customers, owners, strict=True)), rng, now))
    for instances in (owners + members, customers, memberships, connections):
        rows.insert(instances)
    TokenPair.objects.bulk_create(
        pair_in_use(connection, f"seeded-{connection.code}", f"seeded-too-{connection.code}")
        for connection in connections
        if connection.state in WITH_TOKENS
    )
    rows.insert([_event_queue(connection, now) for connection in connections if connection.company_id])
    rows.insert([_address(connection, rng) for connection in connections if connection.is_personal])
    rows.insert([_connection_test(connection, rng, now) for connection in connections if rng.random() < 0.3])
    rows.insert(list(chain.from_iterable(_history(connection, now) for connection in connections)))


def _user(role: str, customer: Customer, pk: int) -> User:
    # "!" marks an unusable password (django.contrib.auth.hashers).
    return User(pk=pk, email=f"{role}-{customer.code}@seed.example", password="!seeded")


def _name(number: int, rng: random.Random) -> str:
    return "Big Block Management" if number == LARGE else f"{rng.choice(PLACES)} {rng.choice(TRADES)} {number}"


def _membership(user: User, customer: Customer, role: Role) -> Membership:
    return Membership(user=user, customer=customer, role=role, created_at=customer.created_at, daily_digest=False)


def _connections(owners: list[tuple[int, Customer, User]], rng: random.Random, now: datetime) -> Iterator[Connection]:
    # Of the large customer only the first connection may be in any state; the others work.
    wanted = [
        (customer, owner, number == LARGE and index > 0)
        for number, customer, owner in owners
        for index in range(CONNECTIONS_OF_LARGE if number == LARGE else rng.choice(CONNECTION_COUNTS))
    ]
    first = rows.next_number(Connection)
    ids = rows.reserve_ids(Connection, len(wanted))
    for number, (pk, (customer, owner, works)) in enumerate(zip(ids, wanted, strict=True), start=first):
        state = State.CONNECTED if works else rng.choice(STATES)
        yield _connection(pk, number, customer=customer, owner=owner, state=state, rng=rng, now=now)


def _connection(
    pk: int, number: int, *, customer: Customer, owner: User, state: State, rng: random.Random, now: datetime
) -> Connection:
    connecting = state == State.CONNECTING
    since = customer.created_at if state == State.CONNECTED else now - MAX_TIME_IN_STATE[state] * rng.random()
    return Connection(
        pk=pk,
        code=rows.code(number),
        customer=customer,
        kind=Kind.PERSONAL if not connecting and rng.random() < 0.1 else Kind.CONNECT,
        state=state,
        company_id="" if connecting else str(10_000_000 + number),
        company_name="" if connecting else f"{rng.choice(PLACES)} {rng.choice(TRADES)}",
        account_name="" if connecting else "Pat Seeded",
        account_email="" if connecting else owner.email,
        connected_by=owner,
        created_at=since if connecting else customer.created_at,
        connected_at=None if connecting else customer.created_at,
        proved_at=None if connecting else min(since + timedelta(days=1), now),
        state_since=since,
        error_kind=ERRORS.get(state, ""),
        # The incident was notified and next_check_at is empty: a worker sends no mail and makes no call.
        incident_since=since if state == State.NEEDS_RECONNECT else None,
        tests_since=since,
        disconnects=1 if state == State.DISCONNECTED else 0,
    )


def _event_queue(connection: Connection, now: datetime) -> EventQueue:
    paused = {"paused_until": now + PAUSE, "pauses": 3, "pause_kind": "timeout"}
    return EventQueue(connection=connection, fine_at=now, **(paused if connection.state == State.TROUBLE else {}))


def _address(connection: Connection, rng: random.Random) -> WebhookAddress:
    """A webhook address whose secret nobody knows: its hash is random."""
    return WebhookAddress(
        connection=connection, secret_hash=f"{rng.getrandbits(256):064x}", created_at=connection.created_at, key_id=""
    )


def _connection_test(connection: Connection, rng: random.Random, now: datetime) -> ConnectionTest:
    return ConnectionTest(
        connection=connection,
        by=connection.connected_by,
        at=now - timedelta(days=80) * rng.random(),
        error_kind=connection.error_kind,
        duration=timedelta(milliseconds=rng.randrange(80, 900)),
        company_id=connection.company_id,
        name=connection.account_name,
    )


def _history(connection: Connection, now: datetime) -> Iterator[AuditEntry]:
    owner, started = connection.connected_by, connection.created_at

    def entry(kind: str, at: datetime, *, by_owner: bool = True) -> AuditEntry:
        return AuditEntry(
            at=min(at, now),
            customer=connection.customer,
            actor=owner if by_owner else None,
            actor_name=owner.email if owner and by_owner else "",
            kind=kind,
            subject=connection.code,
        )

    yield entry("connect.started", started)
    if connection.state == State.CONNECTING:
        return
    yield entry("connect.allowed", started + timedelta(seconds=40))
    yield entry("connect.connected", started + timedelta(seconds=44), by_owner=False)
    yield entry("tokens.exchanged", started + timedelta(seconds=44), by_owner=False)
    if connection.state in {State.TROUBLE, State.NEEDS_RECONNECT, State.DISCONNECTED}:
        by_owner = connection.state == State.DISCONNECTED
        yield entry(f"connection.{connection.state}", connection.state_since, by_owner=by_owner)


def _creation_time(rng: random.Random, now: datetime) -> datetime:
    return now - timedelta(days=61) - timedelta(days=340) * rng.random()

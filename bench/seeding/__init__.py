"""Made-up customers, connections and events for a database that is used for nothing else.

Rows are inserted in batches, one transaction each. The code of a seeded row holds its number, so a run that was
interrupted continues where it stopped and never inserts more than was asked for. The same seed on an empty database
makes the same rows, with times relative to `now`.

No person has a password, no webhook address can be guessed, no token was ever issued. No check is scheduled and every
incident counts as notified, so that a worker makes few calls and sends no mail; SnapInspect refuses the calls.

rows       bulk inserts
customers  customers with their people, connections, connection tests and audit trail
tokens     their token pairs
events     events with their deliveries and attempts
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db import transaction

from accounts.models import Customer
from bench.seeding import customers, events, rows
from integrations.models import Event

CUSTOMERS_PER_BATCH = 500
EVENTS_PER_BATCH = 4000


class NoConnections(Exception):
    """Events were asked for, but there is no seeded connection that they could belong to."""


@dataclass(frozen=True)
class Plan:
    """The numbers of the rows that are missing."""

    customers: range
    events: range


def plan(*, customers: int, events: int) -> Plan:
    """What is missing to this many seeded customers and events; empty ranges if there are enough."""
    return Plan(
        range(min(rows.next_number(Customer), customers), customers),
        range(min(rows.next_number(Event), events), events),
    )


def add_customers(numbers: range, *, seed: int, now: datetime) -> Iterator[int]:
    """Inserts these customers; yields the size of each batch once it is committed."""
    return _in_batches(numbers, CUSTOMERS_PER_BATCH, seed, partial(customers.add, now=now))


def add_events(numbers: range, *, seed: int, now: datetime) -> Iterator[int]:
    """Inserts these events; yields the size of each batch once it is committed. Raises NoConnections.

    Memory: eight bytes for each connection, and one batch.
    """
    if not numbers:
        return
    connections = events.Connections.load()
    if not connections.all:
        raise NoConnections
    add = partial(events.add, total=numbers.stop, connections=connections, now=now)
    yield from _in_batches(numbers, EVENTS_PER_BATCH, seed, add)


def _in_batches(numbers: range, size: int, seed: int, add: Callable[[range, random.Random], None]) -> Iterator[int]:
    for start in range(numbers.start, numbers.stop, size):
        batch = numbers[start - numbers.start :][:size]
        with transaction.atomic():
            add(batch, random.Random(f"{seed} {start}"))
        yield len(batch)

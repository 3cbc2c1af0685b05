"""Made-up data for trying things out at size: customers with their people and connections, events over sixty days.

It is added in batches, each of which is there as a whole or not at all, and every seeded row has its number in its
code: seeding may be stopped anywhere, goes on where it was, and never makes more than was asked for. The same numbers
on an empty database make the same rows, counted back from the moment that is passed in.

Nothing here is of use to anybody: people have no password, no address leads anywhere, tokens were never issued and
only look sealed. What would have a worker call SnapInspect or mail somebody is left out where it can be; still, a
worker that meets such a token finds it refused. So this is for a database of its own.

rows       writing many rows at once
customers  customers, their people, connections and history
events     events, with the deliveries and attempts that led to them
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db import transaction

from accounts.models import Customer
from integrations.models import Event
from integrations.seeding import customers, events, rows

CUSTOMERS_AT_ONCE = 500
EVENTS_AT_ONCE = 4000


class NothingToHangOn(Exception):
    """There are events to be made, and no seeded connection that they could belong to."""


@dataclass(frozen=True)
class Plan:
    """The numbers of what is missing."""

    customers: range
    events: range


def plan(*, customers: int, events: int) -> Plan:
    """What has to be added to have that many seeded customers and events; nothing where there are as many already."""
    return Plan(
        range(min(rows.following(Customer), customers), customers), range(min(rows.following(Event), events), events)
    )


def add_customers(numbers: range, *, seed: int, now: datetime) -> Iterator[int]:
    """Adds these customers, and tells after each batch how many it had."""
    return _in_batches(numbers, CUSTOMERS_AT_ONCE, seed, partial(customers.add, now=now))


def add_events(numbers: range, *, seed: int, now: datetime) -> Iterator[int]:
    """Adds these events, and tells after each batch how many it had. Raises NothingToHangOn.

    Keeps eight bytes for each connection, and one batch.
    """
    if not numbers:
        return
    whose = events.Whose.found()
    if not whose.everybody:
        raise NothingToHangOn
    yield from _in_batches(numbers, EVENTS_AT_ONCE, seed, partial(events.add, of=numbers.stop, whose=whose, now=now))


def _in_batches(numbers: range, size: int, seed: int, add: Callable[[range, random.Random], None]) -> Iterator[int]:
    for start in range(numbers.start, numbers.stop, size):
        batch = numbers[start - numbers.start :][:size]
        with transaction.atomic():
            add(batch, random.Random(f"{seed} {start}"))  # noqa: S311  (for variety, not for secrets)
        yield len(batch)

"""How much of what was posted is kept, in number and in bytes: a flood costs little, and pushes out only its own.

    parked deliveries     MOST_PARKED in all. Each customer has MOST_OF_ONE of them for its own addresses, each company
                          as many at the application's address.
    waiting deliveries    those of a customer's unfinished events: MOST_WAITING.

A customer that has never connected has NEW_PARKED and NEW_WAITING: until then nothing shows that SnapInspect sends.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Length, Now

from integrations.models import Connection, Delivery, Event, EventDelivery, EventQueue, State

MIB = 1024 * 1024


@dataclass(frozen=True)
class Quota:
    """So many rows, whose bodies have so many bytes."""

    number: int
    size: int

    def used(self, number: int, size: int) -> float:
        """The share of it that these use; 1 and more: all of it."""
        return max(number / self.number, size / self.size)


@dataclass(frozen=True, slots=True)
class Row:
    pk: int
    size: int


MOST_PARKED = Quota(10_000, 64 * MIB)
MOST_OF_ONE = Quota(5_000, 32 * MIB)
NEW_PARKED = Quota(200, 2 * MIB)
MOST_WAITING = Quota(300_000, 256 * MIB)
NEW_WAITING = Quota(200, 4 * MIB)
# Of equal deliveries of one event: SnapInspect sends five.
MOST_COPIES = Quota(1000, 1 * MIB)
# From this share on, staff are told.
NEARLY = 0.8

# The sizes of many bodies are read this often at most, in seconds, by one process.
MEASURED_FOR = 5.0
_MANY = 1000


@dataclass(frozen=True, slots=True)
class _Measured:
    at: float
    number: int
    size: int


_measured: dict[int, _Measured] = {}


def surplus() -> list[int]:
    """The keys of parked deliveries beyond the quotas: the oldest of whoever has most."""
    parked = Delivery.objects.parked().order_by("-pk")
    columns = ("connection__customer", "connection", "company_id", "state", "pk")
    owners: dict[tuple[int | None, str], dict[tuple[int | None, str], list[Row]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for customer, connection, company, state, pk, size in parked.values_list(*columns, Length("body")).iterator():
        # What cannot be read is apart from what waits for its company.
        owners[customer, "" if customer else company][connection, state].append(Row(pk, size))
    new = _never_connected({customer for customer, _ in owners if customer})
    kept = [
        _within(NEW_PARKED if owner[0] in new else MOST_OF_ONE, list(own.values())) for owner, own in owners.items()
    ]
    keys = {row.pk for row in _within(MOST_PARKED, kept)}
    return [row.pk for own in owners.values() for rows in own.values() for row in rows if row.pk not in keys]


def _within(quota: Quota, groups: list[list[Row]]) -> list[Row]:
    """As many of these rows as fit, best first, as they are in the groups. Groups that have less keep all of it."""
    ranked = []
    for rows in groups:
        number = size = 0
        for row in rows:
            number, size = number + 1, size + row.size
            ranked.append((quota.used(number, size), -row.pk, row))
    kept: list[Row] = []
    size = 0
    for *_, row in sorted(ranked, key=lambda one: one[:2]):
        size += row.size
        if quota.used(len(kept) + 1, size) > 1:
            break
        kept.append(row)
    return kept


def waiting(customers: Iterable[int]) -> dict[int, float]:
    """The share of its quota for waiting deliveries that each of these customers uses; without those that use none."""
    counted = _count_waiting(set(customers))
    return _shares(counted, _never_connected(counted))


def _count_waiting(customers: set[int]) -> dict[int, int]:
    # Two queries: for a join PostgreSQL reads every connection there is.
    owner = dict(Connection.objects.filter(customer__in=customers).values_list("pk", "customer_id"))
    events = Event.objects.open().filter(connection__in=owner).order_by()
    counted: Counter[int] = Counter()
    for connection, number in events.values_list("connection").annotate(n=Count("pk")):
        counted[owner[connection]] += number
    return counted


def _shares(counted: dict[int, int], new: set[int]) -> dict[int, float]:
    quotas = {customer: NEW_WAITING if customer in new else MOST_WAITING for customer in counted}
    # An event has bytes of MOST_COPIES at most: fewer events cannot have too many.
    many = {pk for pk, number in counted.items() if number * MOST_COPIES.size > quotas[pk].size * NEARLY}
    read = _read_waiting(many)
    return {pk: quotas[pk].used(*read.get(pk, (number, 0))) for pk, number in counted.items()}


def _read_waiting(customers: set[int]) -> dict[int, tuple[int, int]]:
    """How many deliveries the unfinished events of each customer have, and their bytes."""
    now = time.monotonic()
    recent = {
        pk
        for pk in customers & set(_measured)
        if _measured[pk].at > now - MEASURED_FOR and _measured[pk].number > _MANY
    }
    if customers - recent:
        links = EventDelivery.objects.filter(event__state__in=Event.OPEN).order_by()
        found = links.filter(event__connection__customer__in=customers - recent).values_list(
            "event__connection__customer"
        )
        _measured.update(dict.fromkeys(customers - recent, _Measured(now, 0, 0)))
        for pk, number, size in found.annotate(n=Count("pk"), size=Sum(Length("delivery__body"))):
            _measured[pk] = _Measured(now, number, size)
    return {pk: (_measured[pk].number, _measured[pk].size) for pk in customers}


def _never_connected(customers: Iterable[int]) -> set[int]:
    """Those of these customers for whom SnapInspect has never confirmed a company."""
    if not (wanted := set(customers)):
        return set()
    known = Connection.objects.filter(customer__in=wanted).exclude(company_id="")
    return wanted - set(known.values_list("customer", flat=True))


@dataclass(frozen=True)
class Usage:
    """How much room is used.

    parked: deliveries by state. share: of the room for them. nearly_full: how many owners use nearly all of their own:
    a customer, or a company at the application's address.
    """

    parked: dict[str, int]
    share: float
    nearly_full: int


def usage() -> Usage:
    """As it is now. Of the customers with waiting events those are read whose queues have waited longest."""
    by_state = {str(state): 0 for state in Delivery.PARKED}
    owners: dict[tuple[int | None, str], list[int]] = defaultdict(lambda: [0, 0])
    groups = Delivery.objects.parked().order_by().values_list("connection__customer", "company_id", "state")
    for customer, company, state, number, size in groups.annotate(n=Count("pk"), size=Sum(Length("body"))):
        by_state[state] += number
        owner = owners[customer, "" if customer else company]
        owner[0], owner[1] = owner[0] + number, owner[1] + size
    stuck = Q(due_at__lt=Now()) | Q(paused_until__gt=Now())
    # A subquery, and two queries: for a join PostgreSQL reads every connection there is.
    state = Subquery(Connection.objects.filter(pk=OuterRef("connection")).values("state"))
    queues = EventQueue.objects.filter(stuck).alias(state=state).exclude(state=State.DISCONNECTED).order_by("due_at")
    waiting_longest = Connection.objects.filter(pk__in=list(queues.values_list("connection", flat=True)[:100]))
    counted = _count_waiting(set(waiting_longest.values_list("customer", flat=True)))
    new = _never_connected([*counted, *(customer for customer, _ in owners if customer)])
    full = {
        owner
        for owner, used in owners.items()
        if (NEW_PARKED if owner[0] in new else MOST_OF_ONE).used(*used) >= NEARLY
    }
    full |= {(customer, "") for customer, share in _shares(counted, new).items() if share >= NEARLY}
    number, size = (sum(used[part] for used in owners.values()) for part in (0, 1))
    return Usage(by_state, MOST_PARKED.used(number, size), len(full))

"""One customer's outage or load does not delay the others: rows A6, A7 and A11 of the score card.

The delays are measured in tests/processes/test_fairness.py.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from django.db.models import Count
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import Customer, User
from integrations.calls import health_check
from integrations.events import queue, routing
from integrations.events.handlers import Happening
from integrations.models import Connection, Event, EventQueue, State, backoff
from integrations.snapinspect import client
from tests.support import troubled_connections
from tests.support.clients import COMPANY_OF_OTHER, COMPANY_OF_PAT, Sandbox, Visitor, work
from tests.support.deliveries import (
    INSPECTION_OF_OTHER,
    later,
    looks,
    payload,
    post,
    upload,
)
from tests.support.measurements import record
from tests.support.sizes import size

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("handled")]
Visit = Callable[[User], Visitor]
EXCHANGE = "/integration/ExchangeToken"


def about_other(type_: str = "Create_Inspection") -> dict[str, object]:
    return payload(type_, INSPECTION_OF_OTHER, iCompanyID=int(COMPANY_OF_OTHER))


def companies_of(handled: list[Happening]) -> list[str]:
    return [happening.company_id for happening in handled]


def make_queues(customer: Customer, number: int, *, waiting: int) -> list[int]:
    """Connections of a customer with queues that have been due for so many minutes."""
    made = [Connection.objects.create(customer=customer, state=State.CONNECTED) for _ in range(number)]
    EventQueue.objects.bulk_create(
        EventQueue(connection=connection, due_at=timezone.now() - timedelta(minutes=waiting)) for connection in made
    )
    return [connection.pk for connection in made]


def test_A11_a_customer_whom_nobody_serves_comes_before_the_many_queues_of_one_who_is_served(
    acme: Customer, charlie: User
) -> None:
    of_acme = make_queues(acme, 60, waiting=30)
    (of_other,) = make_queues(charlie.memberships.get().customer, 1, waiting=1)
    longest = queue.next_due().values_list("pk", flat=True)
    assert longest[0] in of_acme

    EventQueue.objects.filter(pk=of_acme[0]).update(lease_owner="a worker", lease_until=Now() + timedelta(seconds=30))

    assert longest.all()[0] == of_other
    assert set(longest.all()[1:60]) == set(of_acme[1:])


def test_A11_while_jobs_wait_for_snapinspect_the_inbox_has_its_turn(
    sandbox: Sandbox, alice: User, acme: Customer, other: Connection
) -> None:
    checked = troubled_connections.connect(sandbox, acme, alice, 4)
    Connection.objects.filter(pk__in=[one.pk for one in checked]).update(next_check_at=Now())
    sandbox.fault("/user", times=None, delay=0.1)
    sandbox.control("DELETE", "log")
    post(about_other())
    work()

    paths = [call["path"] for call in sandbox.calls()]
    assert Counter(paths) == {"/user": 4, f"/inspections/{INSPECTION_OF_OTHER}": 1}
    assert paths.index(f"/inspections/{INSPECTION_OF_OTHER}") <= 1, "at the latest after the first of the checks"


# Seconds, the least and the most, and the number of calls. Of rubbish nothing is known, so the usual waits hold.
DAY = 24 * 3600
ASKED = {
    "120": (60, 120, 1),
    "a date in two minutes": (60, 120, 1),
    "in a while": (12, 40, client.MAX_TRIES),
    str(DAY): (840, 900, 1),
}


@pytest.mark.parametrize("asked", ASKED)
def test_A6_a_customer_who_is_asked_for_fewer_calls_waits_as_long_and_nobody_else_does(
    asked: str,
    sandbox: Sandbox,
    connection: Connection,
    other: Connection,
    handled: list[Happening],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "FIRST_OUTAGE_WAIT", timedelta(seconds=40))
    least, most, calls = ASKED[asked]
    header = format_datetime(timezone.now() + timedelta(minutes=2), usegmt=True) if "date" in asked else asked
    for path in ("/inspections*", "/user"):
        asks = {"Retry-After": header}
        sandbox.fault(path, "status", times=None, status=429, headers=asks, company=int(COMPANY_OF_PAT))
    for number in range(10):
        post(payload(f"Type_{number}"))
        post(about_other(f"Type_{number}"))
    work()
    work()
    health_check.check(connection)

    called = Counter(call["company"] for call in sandbox.calls("/inspections"))
    until = EventQueue.objects.get(pk=connection.pk).paused_until
    connection.refresh_from_db()
    assert until is not None and connection.next_check_at is not None
    waits = [(moment - timezone.now()).total_seconds() for moment in (until, connection.next_check_at)]
    record(
        "A6",
        f"429, Retry-After: {asked}",
        f"{called[int(COMPANY_OF_PAT)]} calls, the next in {waits[0]:.0f} s; another customer's 10 events: "
        f"{len(handled)} done meanwhile",
    )
    assert called == {int(COMPANY_OF_PAT): calls, int(COMPANY_OF_OTHER): 10}
    assert least <= waits[0] <= most
    assert waits[1] >= least
    assert companies_of(handled) == [COMPANY_OF_OTHER] * 10
    assert set(Event.objects.filter(connection=connection).values_list("attempts", flat=True)) == {0}


def test_A6_an_event_that_is_limited_again_and_again_never_pays_for_it(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    post(payload("Unlucky"))
    routing.route_batch()
    for number in range(Event.MOST_ATTEMPTS + 1):
        Event.objects.filter(type="Unlucky").update(next_attempt_at=Now())
        sandbox.fault("/inspections*", "status", status=429, headers={"Retry-After": "60"})
        later(seconds=0)
        post(payload(f"Lucky_{number}"))
        Event.objects.filter(type="Unlucky").update(next_attempt_at=Now() + timedelta(hours=1))
        later(seconds=0)

    unlucky = Event.objects.get(type="Unlucky")
    assert (unlucky.attempts, unlucky.state) == (0, Event.State.RETRYING)
    assert len(handled) == Event.MOST_ATTEMPTS + 1


@pytest.mark.slow
def test_A7_while_half_of_all_answers_are_errors_reads_succeed_in_the_end_and_no_exchange_is_repeated_blindly(
    sandbox: Sandbox, connection: Connection, handled: list[Happening], alice: User
) -> None:
    minutes, a_minute = size(10, 60), size(5, 20)
    for path in ("/inspections*", "/user", EXCHANGE):
        sandbox.fault(path, "status", times=None, status=500, share=0.5)
    sandbox.control("DELETE", "log")
    exchanges = 0
    for _ in range(minutes):
        for _ in range(a_minute):
            post(payload(inspection=upload(sandbox)))
        later(minutes=1)
        troubled_connections.pass_time(timedelta(minutes=1))
        before = sandbox.exchanges()
        health_check.replace_tokens(connection, by=alice)
        exchanges += sandbox.exchanges() > before
        work()
    # A minute is one try for a worker here, and ends with the first outage: in life it would be some ten tries.
    for _ in range(minutes):
        later(minutes=1)

    reads = minutes * a_minute
    done = Event.objects.filter(state=Event.State.DONE).count()
    tried = Event.objects.aggregate(Count("timeline"))["timeline__count"]
    calls = looks(sandbox)
    posts = [call for call in sandbox.calls() if call["path"] in {EXCHANGE, "/user"}]
    blind = sum(
        first["path"] == second["path"] == EXCHANGE and first["token"] == second["token"]
        for first, second in pairwise(posts)
    )
    record(
        "A7",
        "half of all answers are 500 (simulated minutes)",
        f"{done} of {reads} reads done, {calls / tried:.1f} calls a read (at most 4), "
        f"{sandbox.exchanges()} exchanges sent, {blind} of them again without asking /user in between",
    )
    assert done >= 0.99 * reads
    assert tried < calls <= client.MAX_TRIES * tried
    assert exchanges, "none was sent"
    assert blind == 0
    connection.refresh_from_db()
    assert connection.state in {State.CONNECTED, State.TROUBLE}

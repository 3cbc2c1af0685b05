"""Customers share workers, disks and SnapInspect's patience: rows A6, A7, A11 and W16 of the score card, their causes.

What the delays come to is measured in test_fair_processes.
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
from integrations.background import jobs
from integrations.calls import health_check, limits
from integrations.events import handlers, parked, queue, routing
from integrations.events.handlers import Happening
from integrations.models import Attempt, Connection, Delivery, Event, EventDelivery, EventQueue, State, backoff
from integrations.snapinspect import client
from integrations.tokens import proof
from tests.support import troubled_connections
from tests.support.clients import COMPANY_OF_OTHER, COMPANY_OF_PAT, OTHER, Sandbox, Visitor, work
from tests.support.deliveries import (
    INSPECTION_OF_OTHER,
    deliver,
    later,
    looks,
    only_event,
    payload,
    post,
    upload,
)
from tests.support.measurements import record
from tests.support.sizes import size

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
EXCHANGE = "/integration/ExchangeToken"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "RECHECK_AFTER", 0)
    monkeypatch.setattr(proof, "PAUSE_BEFORE_BELIEVING_401", 0.01)
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.01)


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Happening]:
    """What a handler of everything has heard."""
    monkeypatch.setattr(handlers, "registry", {})
    happenings: list[Happening] = []
    handlers.on("*")(happenings.append)
    return happenings


@pytest.fixture
def connection(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    made = visit(alice).connect(acme, sandbox)
    sandbox.control("DELETE", "log")
    return made


@pytest.fixture
def other(sandbox: Sandbox, visit: Visit, charlie: User) -> Connection:
    """Another customer's connection, to another company."""
    made = visit(charlie).connect(charlie.memberships.get().customer, sandbox, account=OTHER)
    sandbox.control("DELETE", "log")
    return made


def about_other(type_: str = "Create_Inspection") -> dict[str, object]:
    return payload(type_, INSPECTION_OF_OTHER, iCompanyID=int(COMPANY_OF_OTHER))


def hang(sandbox: Sandbox) -> None:
    """SnapInspect does not answer about the first customer's company."""
    sandbox.fault("/inspections*", "hang", times=None, delay=20, company=int(COMPANY_OF_PAT))


def heard_of(heard: list[Happening]) -> list[str]:
    return [happening.company_id for happening in heard]


def many_lanes(customer: Customer, number: int, *, waiting: int) -> list[int]:
    """So many connections of a customer with something to do, since so many minutes."""
    made = [Connection.objects.create(customer=customer, state=State.CONNECTED) for _ in range(number)]
    EventQueue.objects.bulk_create(
        EventQueue(connection=connection, due_at=timezone.now() - timedelta(minutes=waiting)) for connection in made
    )
    return [connection.pk for connection in made]


def test_A11_a_customer_whom_nobody_serves_comes_before_the_many_lanes_of_one_who_is_served(
    acme: Customer, charlie: User
) -> None:
    of_acme = many_lanes(acme, 60, waiting=30)
    (of_other,) = many_lanes(charlie.memberships.get().customer, 1, waiting=1)
    longest = queue.next_due().values_list("pk", flat=True)
    assert longest[0] in of_acme

    EventQueue.objects.filter(pk=of_acme[0]).update(lease_owner="a worker", lease_until=Now() + timedelta(seconds=30))

    assert longest.all()[0] == of_other
    assert set(longest.all()[1:60]) == set(of_acme[1:])


def test_A11_an_account_that_hangs_is_tried_shortly_once_and_then_where_it_holds_up_nobody(
    sandbox: Sandbox,
    connection: Connection,
    other: Connection,
    heard: list[Happening],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "QUICK_SECONDS", 0.3)
    hang(sandbox)
    for number in range(20):
        post(payload(f"Type_{number}"))
    post(about_other())
    work()
    assert (looks(sandbox), heard_of(heard)) == (2, [COMPANY_OF_OTHER]), "one try, and not one for every event"
    assert EventQueue.objects.get(pk=connection.pk).pauses == 1
    tried = Attempt.objects.get(event__connection=connection)
    assert tried.duration < timedelta(seconds=10), "a call that is not on trial is given less than the usual 15 seconds"

    with limits.trial() as free:
        assert free
        post(about_other("Create_Review"))
        later(minutes=10)
    assert (looks(sandbox), heard_of(heard)) == (3, [COMPANY_OF_OTHER] * 2), "the place for trials is taken"

    sandbox.clear_faults()
    later(minutes=10)
    assert Counter(heard_of(heard)) == {COMPANY_OF_OTHER: 2, COMPANY_OF_PAT: 20}
    assert EventQueue.objects.get(pk=connection.pk).pauses == 0


def test_A11_a_trial_ends_with_the_first_answer_and_the_rest_waits_for_its_turn_like_everybody(
    sandbox: Sandbox, connection: Connection, heard: list[Happening]
) -> None:
    sandbox.fault("/inspections*", "status", status=404)
    for number in range(5):
        post(payload(f"Type_{number}"))
    routing.route_batch()
    EventQueue.objects.update(pauses=3)

    queue.process(connection.pk)

    assert len(heard) == 1
    assert list(queue.next_due()) == [EventQueue.objects.get(pk=connection.pk)]
    assert Event.objects.open().count() == 4


def test_A11_while_jobs_wait_for_snapinspect_the_inbox_has_its_turn(
    sandbox: Sandbox, alice: User, acme: Customer, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "JOBS_SECONDS", 0.05)
    checked = troubled_connections.connect(sandbox, acme, alice, 4)
    Connection.objects.filter(pk__in=[one.pk for one in checked]).update(next_check_at=Now())
    sandbox.fault("/user", times=None, delay=0.1)
    sandbox.control("DELETE", "log")
    post(about_other())
    work()

    paths = [call["path"] for call in sandbox.calls()]
    assert Counter(paths) == {"/user": 4, f"/inspections/{INSPECTION_OF_OTHER}": 1}
    assert paths.index(f"/inspections/{INSPECTION_OF_OTHER}") == 1, "after the first of the checks"


def test_A11_connections_that_were_not_answered_are_checked_one_at_a_time_and_after_all_others(
    sandbox: Sandbox, alice: User, acme: Customer
) -> None:
    fit, *silent = troubled_connections.connect(sandbox, acme, alice, 3)
    Connection.objects.filter(pk__in=[one.pk for one in silent]).update(
        failed_checks=3, next_check_at=Now() - timedelta(hours=1)
    )
    Connection.objects.filter(pk=fit.pk).update(next_check_at=Now())
    sandbox.control("DELETE", "log")
    with limits.trial():
        work()
    assert [call["company"] for call in sandbox.calls("/user")] == [int(fit.company_id)]

    work()
    assert {one.failed_checks for one in Connection.objects.all()} == {0}


# Seconds, the least and the most, and the number of calls. Of rubbish nothing is known, so the usual waits hold.
DAY = 24 * 3600
ASKED = {
    "120": (60, 120, 1),
    "a date in two minutes": (60, 120, 1),
    "in a while": (12, 40, client.MOST_TRIES),
    str(DAY): (840, 900, 1),
}


@pytest.mark.parametrize("asked", ASKED)
def test_A6_a_customer_who_is_asked_for_fewer_calls_waits_as_long_and_nobody_else_does(
    asked: str,
    sandbox: Sandbox,
    connection: Connection,
    other: Connection,
    heard: list[Happening],
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
        f"{len(heard)} done meanwhile",
    )
    assert called == {int(COMPANY_OF_PAT): calls, int(COMPANY_OF_OTHER): 10}
    assert least <= waits[0] <= most
    assert waits[1] >= least
    assert heard_of(heard) == [COMPANY_OF_OTHER] * 10
    assert set(Event.objects.filter(connection=connection).values_list("attempts", flat=True)) == {0}


def test_A6_an_event_that_is_limited_again_and_again_never_pays_for_it(
    sandbox: Sandbox, connection: Connection, heard: list[Happening]
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
    assert len(heard) == Event.MOST_ATTEMPTS + 1


def test_A7_while_half_of_all_answers_are_errors_reads_succeed_in_the_end_and_no_exchange_is_repeated_blindly(
    sandbox: Sandbox, connection: Connection, heard: list[Happening], alice: User
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
    assert tried < calls <= client.MOST_TRIES * tried
    assert exchanges, "none was sent"
    assert blind == 0
    connection.refresh_from_db()
    assert connection.state in {State.CONNECTED, State.TROUBLE}


def test_W16_a_flood_about_nobody_is_kept_up_to_a_cap(
    connection: Connection, heard: list[Happening], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked, "MOST_PARKED", 50)
    monkeypatch.setattr(parked, "BATCH", 20)
    for number in range(70):
        post(payload(f"Flood_{number}", iCompanyID=424242))
    deliver(payload("Real"))
    jobs.sweep()

    kept = Delivery.objects.parked()
    assert kept.count() == 50
    assert set(kept.values_list("type", flat=True)) == {f"Flood_{number}" for number in range(20, 70)}
    assert [happening.type for happening in heard] == ["Real"]


def test_W16_a_flood_about_a_known_company_makes_no_more_events_than_a_cap_and_spares_the_others(
    sandbox: Sandbox,
    connection: Connection,
    other: Connection,
    heard: list[Happening],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routing, "MOST_OPEN", 30)
    monkeypatch.setattr(routing, "BATCH", 10)
    monkeypatch.setattr(parked, "MOST_PARKED", 40)
    sandbox.fault("/inspections*", "status", times=None, status=503, company=int(COMPANY_OF_PAT))
    for number in range(80):
        post(payload(inspection=9_000_000 + number))
    post(about_other())
    work()
    assert set(Delivery.objects.parked().values_list("problem", flat=True)) == {"too_many"}
    jobs.sweep()

    assert Event.objects.filter(connection=connection).count() == 30
    assert heard_of(heard) == [COMPANY_OF_OTHER]
    assert Delivery.objects.count() == 30 + 40 + 1, "30 are events', 40 are parked"

    Event.objects.filter(connection=connection).update(state=Event.State.IGNORED)
    jobs.sweep()
    routing.route_batch()
    assert Event.objects.filter(connection=connection).count() > 30, "there is room again"


def test_W16_of_deliveries_that_say_the_same_only_so_many_are_kept(
    connection: Connection, heard: list[Happening], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "MOST_COPIES", 5)
    monkeypatch.setattr(routing, "BATCH", 10)
    for _ in range(3):
        for _ in range(25):
            post(payload("Again"))
        work()
        later(seconds=10)

    # The first that comes after a look-up may be news: it is kept until another look-up has shown that it is not.
    assert EventDelivery.objects.filter(event=only_event()).count() == Delivery.objects.count() <= 5 + 2
    assert (only_event().state, len(heard)) == ("done", 1)

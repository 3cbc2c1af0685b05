"""What is kept of what was posted is limited for each owner, in number and in bytes: row L1 of the score card."""

import pytest

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.events import parked, quotas, routing, webhook_addresses
from integrations.events.handlers import Happening
from integrations.events.quotas import MIB, Quota
from integrations.models import Connection, Delivery, Event, EventDelivery, EventQueue
from integrations.operations import status
from tests.support.clients import COMPANY_OF_PAT, work
from tests.support.deliveries import deliver, only_event, payload, post
from tests.support.measurements import record

pytestmark = pytest.mark.django_db(transaction=True)

KIB = 1024
UNMATCHED, QUARANTINED = Delivery.State.UNMATCHED, Delivery.State.QUARANTINED


@pytest.fixture
def new_connections(charlie: User) -> list[Connection]:
    """Four connections of a customer for whom SnapInspect has never confirmed a company."""
    customer = charlie.memberships.get().customer
    return [Connection.objects.create(customer=customer, connected_by=charlie) for _ in range(4)]


def park(
    number: int, *, of: Connection | None = None, company: str = "", state: str = UNMATCHED, size: int = 100
) -> None:
    Delivery.objects.bulk_create(
        Delivery(connection=of, company_id=company, state=state, body=b"x" * size) for _ in range(number)
    )


def kept(**of: object) -> int:
    return Delivery.objects.parked().filter(**of).count()


def signals() -> dict[str, status.Signal]:
    return {signal.name: signal for signal in status.read().signals}


def test_L1_what_a_stranger_posts_to_own_addresses_is_small_and_pushes_out_nothing_of_others(
    new_connections: list[Connection],
) -> None:
    park(3, company="424242")
    for connection in new_connections:
        park(300, of=connection, company="434343", size=64 * KIB)
    parked.delete_surplus()

    bodies = [len(row.body) for row in Delivery.objects.parked().exclude(connection=None)]
    record(
        "L1",
        "1,200 bodies of 64 kB to four addresses of a customer that never connected",
        f"{sum(bodies) / MIB:.1f} MiB kept (quota {quotas.NEW_PARKED.size // MIB} MiB); "
        f"{kept(company_id='424242')} of 3 of another company kept",
    )
    assert kept(company_id="424242") == 3
    assert sum(bodies) <= quotas.NEW_PARKED.size
    shares = [kept(connection=connection) for connection in new_connections]
    assert max(shares) - min(shares) <= 1, "each address has its part"


def test_L1_a_flood_of_many_companies_leaves_what_a_customers_own_address_got(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "MOST_PARKED", Quota(50, MIB))
    park(1, of=connection, company="1")
    for company in range(200):
        park(1, company=f"{500000 + company}")
    park(20, of=connection, company="2", state=QUARANTINED)
    parked.delete_surplus()
    assert kept() == 50, "never all of it"


def test_what_cannot_be_read_pushes_out_nothing_that_waits_for_its_company(connection: Connection) -> None:
    for of, company in ((connection, "1"), (None, "")):
        park(20, of=of, company=company)
        park(quotas.MOST_OF_ONE.number + 100, of=of, state=QUARANTINED, size=10)
    parked.delete_surplus()
    assert kept(state=UNMATCHED) == 40


def test_the_bytes_of_each_company_and_of_all_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "MOST_OF_ONE", Quota(100, 20 * KIB))
    monkeypatch.setattr(quotas, "MOST_PARKED", Quota(1000, 30 * KIB))
    for company in ("1", "2", "3"):
        park(30, company=company, size=KIB)
    park(2, company="4", size=KIB)
    assert parked.delete_surplus() == 92 - 30
    assert {company: kept(company_id=company) for company in "1234"} == {"1": 9, "2": 9, "3": 10, "4": 2}
    assert parked.delete_surplus() == 0


def test_L1_a_customer_that_never_connected_has_few_waiting_events_and_spares_the_others(
    new_connections: list[Connection], charlie: User, connection: Connection, handled: list[Happening],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(routing, "BATCH", 10)
    addresses = [webhook_addresses.issue(new, by=charlie) for new in new_connections]
    big = payload(more="x" * 60 * KIB)
    for number in range(120):
        post({**big, "sType": f"Flood_{number}"}, addresses[number % 4])
    deliver(payload("Real"))

    waiting = EventDelivery.objects.filter(event__connection__in=new_connections)
    size = sum(len(link.delivery.body) for link in waiting.select_related("delivery"))
    record(
        "L1",
        "120 events of 60 kB for a customer that never connected",
        f"{size / MIB:.1f} MiB wait (quota {quotas.NEW_WAITING.size // MIB} MiB), the event of another is done",
    )
    assert size <= quotas.NEW_WAITING.size + 10 * len(big["more"]) * 1.1
    assert kept(problem=routing.TOO_MANY) == 120 - waiting.count()
    assert [happening.type for happening in handled] == ["Real"]
    jobs.sweep()
    assert Delivery.objects.parked().count() <= quotas.NEW_PARKED.size / (60 * KIB)


def test_the_bytes_of_a_customers_waiting_events_are_limited(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "MOST_WAITING", Quota(100, MIB))
    monkeypatch.setattr(routing, "BATCH", 5)
    monkeypatch.setattr(jobs, "INBOX", jobs.INBOX[:1])
    EventQueue.objects.filter(pk=connection.pk).update(paused_until="2100-01-01T00:00Z")
    for number in range(40):
        post(payload(f"Type_{number}", more="x" * 60 * KIB))
    while routing.route_batch():
        pass
    assert Event.objects.open().count() in range(17, 22)
    assert kept(problem=routing.TOO_MANY) == 40 - Event.objects.open().count()

    Event.objects.update(state=Event.State.IGNORED)
    assert parked.release_matched() == kept(problem="never") + 40 - Event.objects.count()


def test_equal_deliveries_of_one_event_have_few_bytes(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "BATCH", 10)
    for _ in range(30):
        post(payload(more="x" * 60 * KIB))
    while routing.route_batch():
        pass
    links = EventDelivery.objects.filter(event=only_event())
    assert 5 <= links.count() <= MIB // (60 * KIB) + 1
    assert Delivery.objects.count() == links.count()


def test_staff_are_told_before_a_quota_is_used_up(
    new_connections: list[Connection], acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signals()["Quotas"].tone == "success"

    park(int(quotas.NEW_PARKED.number * 0.85), of=new_connections[0], company="1")
    told = signals()["Quotas"]
    assert told.tone == "warning"
    assert "1 companies use more than 80% of their quota" in told.words

    monkeypatch.setattr(quotas, "MOST_PARKED", Quota(200, MIB))
    assert "85% of all room for parked deliveries is used" in signals()["Quotas"].words


def test_staff_are_told_of_waiting_events_before_there_are_too_many(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "MOST_WAITING", Quota(10, MIB))
    for number in range(8):
        post(payload(f"Type_{number}", iCompanyID=int(COMPANY_OF_PAT)))
    routing.route_batch()
    assert signals()["Quotas"].tone == "warning"
    work()
    assert signals()["Quotas"].tone == "success"

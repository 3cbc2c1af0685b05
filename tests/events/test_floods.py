"""What is kept of a flood of deliveries is limited: row W16 of the score card."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from integrations.background import jobs
from integrations.events import parked, quotas, routing, webhook_addresses
from integrations.events.handlers import Happening
from integrations.events.quotas import MIB, Quota
from integrations.models import Connection, Delivery, Event, EventDelivery
from tests.support.clients import COMPANY_OF_OTHER, COMPANY_OF_PAT, Sandbox, work
from tests.support.deliveries import INSPECTION_OF_OTHER, deliver, later, only_event, payload, post

pytestmark = pytest.mark.django_db(transaction=True)


def test_W16_a_flood_about_nobody_is_kept_up_to_a_cap(
    connection: Connection, handled: list[Happening], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "MOST_PARKED", Quota(50, MIB))
    monkeypatch.setattr(parked, "BATCH", 20)
    for number in range(70):
        post(payload(f"Flood_{number}", iCompanyID=424242))
    deliver(payload("Real"))
    jobs.sweep()

    kept = Delivery.objects.parked()
    assert kept.count() == 50
    assert set(kept.values_list("type", flat=True)) == {f"Flood_{number}" for number in range(20, 70)}
    assert [happening.type for happening in handled] == ["Real"]


def test_W16_a_flood_pushes_out_only_its_own(
    connection: Connection, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "MOST_PARKED", Quota(30, MIB))
    monkeypatch.setattr(parked, "BATCH", 20)
    deliver(*(payload(f"Early_{number}", iCompanyID=424242) for number in range(5)), b"rubbish")
    own = webhook_addresses.issue(connection, by=alice)
    for number in range(60):
        post(payload(f"Flood_{number}", iCompanyID=434343), own)
        if number < 40:
            post(b"rubbish %d" % number, own)
    work()
    jobs.sweep()

    kept = Delivery.objects.parked()
    assert kept.filter(company_id="424242").count() == 5
    assert kept.filter(connection=None, state=Delivery.State.QUARANTINED).count() == 1
    assert set(kept.filter(company_id="434343").values_list("type", flat=True)) == {
        f"Flood_{number}" for number in range(48, 60)
    }
    assert kept.count() == 30


def test_W16_a_flood_about_a_known_company_makes_no_more_events_than_a_cap_and_spares_the_others(
    sandbox: Sandbox,
    connection: Connection,
    other: Connection,
    handled: list[Happening],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routing, "MOST_OPEN", 30)
    monkeypatch.setattr(routing, "BATCH", 10)
    monkeypatch.setattr(quotas, "MOST_PARKED", Quota(40, MIB))
    sandbox.fault("/inspections*", "status", times=None, status=503, company=int(COMPANY_OF_PAT))
    for number in range(80):
        post(payload(inspection=9_000_000 + number))
    post(payload(inspection=INSPECTION_OF_OTHER, iCompanyID=int(COMPANY_OF_OTHER)))
    work()
    assert set(Delivery.objects.parked().values_list("problem", flat=True)) == {"too_many"}
    jobs.sweep()

    assert Event.objects.filter(connection=connection).count() == 30
    assert [happening.company_id for happening in handled] == [COMPANY_OF_OTHER]
    assert Delivery.objects.count() == 30 + 40 + 1, "30 are events', 40 are parked"

    Event.objects.filter(connection=connection).update(state=Event.State.IGNORED)
    jobs.sweep()
    routing.route_batch()
    assert Event.objects.filter(connection=connection).count() > 30, "there is room again"


def test_a_full_connection_gets_later_what_the_other_one_of_its_company_got_at_once(
    connection: Connection, charlie: User, handled: list[Happening], monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.SNAPINSPECT_INSPECTION_PATH = ""
    twin = Connection.objects.create(
        customer=charlie.customers.get(), company_id=COMPANY_OF_PAT, state=connection.state
    )
    monkeypatch.setattr(routing, "MOST_OPEN", 5)
    Event.objects.bulk_create(
        Event(connection=twin, type=f"Old_{number}", received_at=timezone.now(), state=Event.State.RETRYING,
              next_attempt_at=timezone.now() + timedelta(days=1))
        for number in range(5)
    )  # fmt: skip
    post(payload("News"))
    work()

    assert connection.events.get().type == "News"
    assert not twin.events.filter(type="News").exists()
    copy = Delivery.objects.parked().get()
    assert (copy.problem, copy.assigned_to, copy.type) == ("too_many", twin, "News")
    assert parked.release_matched() == 0, "what cannot move is not written again"

    twin.events.update(state=Event.State.IGNORED)
    jobs.sweep()
    work()
    assert twin.events.filter(type="News").count() == connection.events.count() == 1
    assert not Delivery.objects.parked().exists()


def test_W16_of_deliveries_that_say_the_same_only_so_many_are_kept(
    connection: Connection, handled: list[Happening], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "MOST_COPIES", Quota(5, MIB))
    monkeypatch.setattr(routing, "BATCH", 10)
    for _ in range(3):
        for _ in range(25):
            post(payload("Again"))
        work()
        later(seconds=10)

    # The first that comes after a look-up may be news: it is kept until another look-up has shown that it is not.
    assert EventDelivery.objects.filter(event=only_event()).count() == Delivery.objects.count() <= 5 + 2
    assert (only_event().state, len(handled)) == ("done", 1)

"""From a delivery to the events it announces: rows W3, W4, W12 and R2 of the score card."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.events import duplicates, handlers, parked, quotas
from integrations.events.handlers import Happening
from integrations.models import Connection, Delivery, Event, EventDelivery, State
from integrations.operations import retention
from tests.support.clients import COMPANY_OF_PAT, Sandbox, Visitor, quick_connect, work
from tests.support.deliveries import (
    INSPECTION,
    INSPECTION_OF_OTHER,
    change_status,
    deliver,
    later,
    looks,
    only_event,
    payload,
    post,
    upload,
)
from tests.support.measurements import record

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]


def test_a_delivery_becomes_a_verified_event_with_the_content_that_the_api_showed(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    deliver(payload("Create_Review", iInsReviewID="77", surprise=[1]))

    event = only_event()
    assert (event.state, event.proof, event.type) == (Event.State.DONE, Event.Proof.VERIFIED, "Create_Review")
    assert (event.inspection_id, event.review_id, event.company_id) == (INSPECTION, "77", COMPANY_OF_PAT)
    assert "12 Harbour Street" in event.content
    assert [(h.type, h.verified, h.key.partition(":")[0]) for h in handled] == [("Create_Review", True, event.key)]
    assert [attempt.error_kind for attempt in event.timeline.all()] == [""]
    assert Delivery.objects.get().state == Delivery.State.PLACED


def test_without_a_path_events_are_kept_and_honestly_not_checked(
    sandbox: Sandbox, connection: Connection, handled: list[Happening], settings: Settings
) -> None:
    settings.SNAPINSPECT_INSPECTION_PATH = ""

    deliver(payload(), payload())
    later(hours=2)
    deliver(payload())
    assert Event.objects.count() == 1, "within 2 h 15 min equal bytes are enough"
    later(minutes=16)
    deliver(payload())

    assert set(Event.objects.values_list("state", "proof")) == {("done", "not_checked")}
    assert Event.objects.count() == len(handled) == 2
    assert looks(sandbox) == 0
    assert not handled[0].verified and handled[0].content is None


@pytest.mark.parametrize("body", [payload(None), payload("Something_New"), {"sType": "Ping", "iCompanyID": "6847"}])
def test_unknown_types_and_missing_ones_are_kept(body: dict[str, object], connection: Connection) -> None:
    deliver(body)
    assert only_event().state == Event.State.DONE


@pytest.mark.parametrize("how", ["before a worker looks", "in turn"])
def test_W3_five_equal_deliveries_are_one_event_with_one_effect_and_at_most_two_look_ups(
    how: str, sandbox: Sandbox, connection: Connection, handled: list[Happening], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than five deliveries take on a machine that does much else.
    monkeypatch.setattr(duplicates, "REPEAT_DELAY", timedelta(minutes=1))
    for _ in range(5):
        post(payload())
        if how == "in turn":
            work()
    later(seconds=65)

    record(
        "W3",
        f"each delivery five times, {how}",
        f"{len(handled)} effect, {Event.objects.count()} version, {looks(sandbox)} look-ups",
    )
    assert EventDelivery.objects.filter(event=only_event()).count() == 5
    assert len(handled) == 1
    assert looks(sandbox) <= 2


def test_the_vendors_five_tries_over_two_hours_are_one_event_each_looked_at_since_it_might_be_a_second_upload(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    for _ in range(5):
        deliver(payload())
        later(minutes=29)

    assert EventDelivery.objects.filter(event=only_event()).count() == 5
    assert len(handled) == 1
    assert looks(sandbox) <= 5


def test_W4_the_same_bytes_again_after_a_change_are_a_second_event_with_the_new_content(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    inspection = upload(sandbox)
    deliver(payload(inspection=inspection))
    change_status(sandbox, inspection, "Second upload")
    deliver(payload(inspection=inspection))
    later(seconds=5)

    record(
        "W4", "the same bytes again after a second upload", f"{Event.objects.count()} events, {len(handled)} effects"
    )
    first, second = Event.objects.order_by("pk")
    assert "Second upload" not in first.content
    assert "Second upload" in second.content
    assert len(handled) == 2


def failing_once(heard: list[str], times: int = 1) -> Callable[[Happening], None]:
    """A handler that fails so many times, and then keeps what it was called with."""
    left = [times]

    def handler(happening: Happening) -> None:
        if left[0]:
            left[0] -= 1
            raise ValueError
        heard.append(str(happening.content))

    return handler


@pytest.mark.parametrize("looked_up_between", [False, True], ids=["at once", "after another failure"])
def test_W4_a_second_change_is_heard_by_every_handler_though_the_first_event_is_still_retried(
    looked_up_between: bool, sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    heard: list[str] = []
    handlers.on("*")(failing_once(heard, times=2))
    inspection = upload(sandbox)
    body = payload("Update_Inspection_Status", inspection)
    deliver(body)
    assert only_event().state == Event.State.RETRYING
    change_status(sandbox, inspection, "Approved")
    if looked_up_between:
        later(seconds=30)
        assert only_event().state == Event.State.RETRYING
    deliver(body)
    later(minutes=1)
    later(minutes=5)

    assert [("Approved" in str(it.content)) for it in handled] == [False, True]
    assert any("Approved" in content for content in heard)
    assert set(Event.objects.values_list("state", flat=True)) == {"done"}


def test_a_repetition_joins_an_event_that_is_retried_since_a_handler_failed(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    handlers.on("*")(failing_once([]))
    deliver(payload())
    deliver(payload())
    later(minutes=1)

    assert EventDelivery.objects.filter(event=only_event()).count() == 2
    assert (only_event().state, len(handled)) == ("done", 1)


def test_status_A_then_B_then_A_is_three_events(
    sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    a, b = (payload("Update_Inspection_Status", sStatus=status) for status in ("A", "B"))
    deliver(a, b, a)
    later(minutes=1)

    assert Event.objects.filter(state=Event.State.DONE).count() == len(handled) == 3


def test_the_reviews_of_one_inspection_are_told_apart(connection: Connection, handled: list[Happening]) -> None:
    one, two = (payload("Create_Review", iInsReviewID=number) for number in (1, 2))
    deliver(one, two)
    deliver(one)
    later(seconds=5)

    assert [(h.type, h.review_id) for h in handled] == [("Create_Review", "1"), ("Create_Review", "2")]


def test_equal_bytes_that_come_later_than_any_retry_are_another_event(
    connection: Connection, handled: list[Happening]
) -> None:
    deliver(payload())
    later(hours=2, minutes=16)
    deliver(payload())

    assert Event.objects.count() == len(handled) == 2


def test_W12_an_early_delivery_is_parked_and_processed_when_its_company_connects(
    sandbox: Sandbox, alice: User, acme: Customer, handled: list[Happening]
) -> None:
    deliver(payload())
    assert Delivery.objects.get().state == Delivery.State.UNMATCHED

    begun = time.monotonic()
    quick_connect(acme, sandbox, by=alice)
    work()
    took = time.monotonic() - begun

    record(
        "W12", "a delivery before its company connects", f"parked; {len(handled)} effect {took:.1f} s after the connect"
    )
    assert only_event().state == Event.State.DONE
    assert len(handled) == 1


def test_W12_parked_deliveries_are_capped_and_aged_out_the_oldest_first(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "MOST_PARKED", quotas.Quota(5, quotas.MIB))
    deliver(*(payload(inspection=number + 1) for number in range(6)), b"rubbish")
    jobs.sweep()
    left = list(Delivery.objects.order_by("pk"))
    assert [delivery.inspection_id for delivery in left] == ["3", "4", "5", "6", ""]

    (rule,) = (rule for rule in retention.RULES if rule.what == "parked deliveries")
    Delivery.objects.filter(pk=left[0].pk).update(received_at=Now() - rule.kept - timedelta(hours=1))
    list(retention.prune(rule))
    record(
        "W12", "more parked than the cap, and one older than the rule", f"{Delivery.objects.count()} kept of a cap of 5"
    )
    assert Delivery.objects.count() == 4


def test_R2_deliveries_wait_while_the_connection_needs_a_person_and_are_processed_after_the_reconnect(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, connection: Connection, handled: list[Happening]
) -> None:
    sandbox.control("POST", "revoke_all")
    for number in range(5):
        deliver(payload(f"Type_{number}"))
    jobs.sweep()
    work()
    assert Event.objects.open().count() == 5
    assert Connection.objects.get().state == State.NEEDS_RECONNECT
    assert set(Event.objects.values_list("attempts", flat=True)) == {0}

    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme, connection=connection)))
    work()
    parked.resume_connection(connection)
    work()

    record(
        "R2",
        "deliveries while the connection needs a person",
        f"{len(handled)} of 5 processed after the reconnect, 0 attempts used up by waiting",
    )
    assert Event.objects.filter(state=Event.State.DONE).count() == len(handled) == 5


def test_staff_assign_what_nobody_has_and_the_api_still_decides(
    sandbox: Sandbox, connection: Connection, alice: User
) -> None:
    deliver(payload(iCompanyID=424242), {"iInspectionID": int(INSPECTION_OF_OTHER)})
    for delivery in Delivery.objects.all():
        assert parked.assign(delivery, connection, by=alice)
        assert not parked.assign(delivery, connection, by=alice)
    work()

    assert set(Event.objects.values_list("inspection_id", "state")) == {
        (INSPECTION, "done"),
        (INSPECTION_OF_OTHER, "retrying"),
    }

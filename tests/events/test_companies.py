"""Whose event it is: rows W6, W13, M5 and M6 of the score card."""

from collections.abc import Callable

import pytest

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.events import routing, webhook_addresses
from integrations.events.handlers import Happening
from integrations.models import Connection, Delivery, Event, EventQueue
from tests.support.clients import COMPANY_OF_OTHER, COMPANY_OF_PAT, OTHER, Sandbox, Visitor, quick_connect, work
from tests.support.deliveries import (
    INSPECTION_OF_OTHER,
    deliver,
    payload,
    post,
)
from tests.support.measurements import record

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
UNKNOWN_COMPANY = "701"


def test_W6_a_company_that_nobody_has_makes_no_event_and_no_call(sandbox: Sandbox, connection: Connection) -> None:
    deliver(payload(iCompanyID=424242), {"iInspectionID": 1})

    record("W6", "a company that nobody has", f"{Event.objects.count()} events, {len(sandbox.calls())} calls")
    assert set(Delivery.objects.values_list("state", flat=True)) == {Delivery.State.UNMATCHED}
    assert not Event.objects.exists()
    assert not sandbox.calls()


def test_W13_two_customers_of_one_company_each_see_it_once_with_their_own_token(
    sandbox: Sandbox, visit: Visit, connection: Connection, charlie: User, handled: list[Happening]
) -> None:
    theirs = charlie.memberships.get().customer
    other = quick_connect(theirs, sandbox, by=charlie)
    sandbox.control("DELETE", "log")

    deliver(payload())
    assert sorted(h.connection.pk for h in handled) == [connection.pk, other.pk]
    assert len({call["token"] for call in sandbox.calls("/inspections")}) == 2

    visit(charlie).post(f"/c/{theirs.code}/connections/{other.code}/disconnect/")
    deliver(payload("Review_Signed"))
    record(
        "W13",
        "a company of two customers; one of them disconnects",
        f"{len(handled[:2])} effects with 2 tokens, then {len(handled[2:])} for the other alone",
    )
    assert [h.connection.pk for h in handled[2:]] == [connection.pk]


def test_M5_a_deleted_customer_takes_its_work_along_and_leaves_others_whole(
    sandbox: Sandbox, connection: Connection, acme: Customer, charlie: User
) -> None:
    theirs = charlie.memberships.get().customer
    other = quick_connect(theirs, sandbox, by=charlie)
    third = quick_connect(theirs, sandbox, by=charlie, account=OTHER)
    post(payload())
    post(payload(inspection=INSPECTION_OF_OTHER, iCompanyID=int(COMPANY_OF_OTHER)))
    routing.route_batch()
    webhook_addresses.issue(third)
    post(payload("Queued"), secret=webhook_addresses.issue(other))
    sandbox.control("DELETE", "log")

    theirs.delete()
    work()

    calls = sandbox.calls()
    strangers = sum(call["company"] != int(COMPANY_OF_PAT) for call in calls)
    record(
        "M5",
        "a customer is deleted with work queued",
        f"{Event.objects.exclude(connection=connection).count()} events and {Delivery.objects.count() - 1} deliveries "
        f"left of it, {strangers} of {len(calls)} later calls for it",
    )
    assert list(Event.objects.values_list("connection", "state")) == [(connection.pk, "done")]
    assert Delivery.objects.count() == 1
    assert {call["company"] for call in sandbox.calls()} == {int(COMPANY_OF_PAT)}
    assert EventQueue.objects.count() == 1


def test_M6_a_company_of_another_customer_gets_nothing_through_a_connection_s_own_address(
    sandbox: Sandbox, connection: Connection, charlie: User, handled: list[Happening]
) -> None:
    other = quick_connect(charlie.memberships.get().customer, sandbox, by=charlie, account=OTHER)

    deliver(payload(), secret=webhook_addresses.issue(other))
    jobs.sweep()
    work()

    record("M6", "a company of A's in a body to B's own address", f"{len(handled)} events delivered to B")
    assert Delivery.objects.get().state == Delivery.State.UNMATCHED
    assert not handled


def test_a_company_learnt_from_an_own_address_is_kept_once_the_api_has_named_it(
    sandbox: Sandbox, alice: User, acme: Customer
) -> None:
    connection = quick_connect(acme, sandbox, by=alice, account=UNKNOWN_COMPANY)
    assert connection.company_id == ""
    own = webhook_addresses.issue(connection)

    deliver({"iInspectionID": 9_999_999, "iCompanyID": int(COMPANY_OF_PAT)}, secret=own)
    connection.refresh_from_db()
    assert connection.company_id == "", "a body's word is not enough"

    deliver({"iInspectionID": 1388701, "iCompanyID": 7250}, secret=own)
    connection.refresh_from_db()
    assert connection.company_id == "7250"

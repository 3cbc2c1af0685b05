"""What verifies an event: the inspection itself. Any other answer is about that inspection, or about the account."""

from typing import Any

import pytest
from django.db.models import F

from integrations.events import verification
from integrations.events.handlers import Happening
from integrations.models import Connection, Event, EventQueue, LookupLimit, State
from integrations.tokens import proof
from tests.support.clients import Sandbox, work_as_if_later
from tests.support.deliveries import INSPECTION, deliver, later, looks, payload, upload

pytestmark = pytest.mark.django_db(transaction=True)

INSPECTION_PATH = f"/inspections/{INSPECTION}"
NO_INSPECTION: list[Any] = [
    {"success": False, "message": "Something went wrong"},
    {"success": False, "iInspectionID": int(INSPECTION)},
    {"error": "no such thing", "iCompanyID": 6847},
    {"Message": "An error has occurred."},
    {},
    [],
    [{"iInspectionID": int(INSPECTION)}],
    None,
    {"data": None, "success": True},
    {"iInspectionID": 999, "iCompanyID": 6847, "sTitle": "Another one"},
    {"data": {"iInspectionID": "999", "sTitle": "Another one"}, "success": True},
    {"inspectionId": 999, "title": "Another one"},
    {"errMsg": "no such thing", "items": []},
]
ONLY_THIS: dict[str, dict[str, Any]] = {
    "403": {"kind": "status", "status": 403},
    "400": {"kind": "status", "status": 400},
    "401": {"kind": "status", "status": 401},
    "302": {"kind": "redirect"},
    "html": {"kind": "html"},
    "failure": {"kind": "raw", "body": {"success": False}},
    "unauthorized": {"kind": "raw", "body": {"Message": "Authorization has been denied for this request."}},
}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "PAUSE_BEFORE_BELIEVING_401", 0.0)


def event_of(inspection: str = INSPECTION) -> Event:
    return Event.objects.get(inspection_id=inspection)


@pytest.mark.parametrize("body", NO_INSPECTION, ids=str)
@pytest.mark.interface
def test_an_answer_that_is_not_this_inspection_verifies_nothing_and_is_asked_for_again(
    body: Any, sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    sandbox.fault(INSPECTION_PATH, "raw", times=None, body="null" if body is None else body)
    deliver(payload())

    event = event_of()
    assert (event.state, event.attempts, event.content) == (Event.State.RETRYING, 1, "")
    assert event.proof != Event.Proof.VERIFIED
    assert handled == []

    sandbox.clear_faults()
    later(minutes=1)
    event = event_of()
    assert (event.state, event.proof) == (Event.State.DONE, Event.Proof.VERIFIED)
    assert [happening.verified for happening in handled] == [True]


def test_an_inspection_of_another_company_is_unmatched_wherever_it_says_so(
    sandbox: Sandbox, connection: Connection
) -> None:
    body = {"success": True, "data": {"iInspectionID": int(INSPECTION), "iCompanyID": 7001}}
    sandbox.fault(INSPECTION_PATH, "raw", times=None, body=body)
    deliver(payload())
    assert (event_of().state, event_of().last_error_kind) == (Event.State.UNMATCHED, "other_company")


@pytest.mark.parametrize("answer", ONLY_THIS.values(), ids=ONLY_THIS)
@pytest.mark.interface
def test_an_answer_about_one_inspection_is_that_event_s_and_is_tried_for_hours(
    answer: dict[str, Any], sandbox: Sandbox, connection: Connection
) -> None:
    sandbox.fault(INSPECTION_PATH, times=None, **answer)
    deliver(payload())
    other = upload(sandbox)
    deliver(payload(inspection=other))
    assert event_of(other).state == Event.State.DONE

    for attempt in range(1, Event.MOST_ATTEMPTS):
        assert (event_of().state, event_of().attempts) == (Event.State.RETRYING, attempt)
        assert EventQueue.objects.get().paused_until is None
        later(hours=2)
    assert event_of().state == Event.State.FAILED
    assert Connection.objects.get().state == State.CONNECTED
    assert sandbox.exchanges() == 0


def test_not_found_is_final_after_a_few_tries_and_asks_nothing_else(sandbox: Sandbox, connection: Connection) -> None:
    deliver(payload(inspection=9_000_001))
    for _ in range(Event.MOST_REFUSALS - 1):
        later(minutes=5)
    assert event_of("9000001").state == Event.State.FAILED
    assert sandbox.calls("/user") == []


@pytest.mark.parametrize("page", [page for name, page in ONLY_THIS.items() if name not in {"401", "unauthorized"}])
@pytest.mark.interface
def test_maintenance_pages_are_an_outage_that_costs_no_attempt(
    page: dict[str, Any], sandbox: Sandbox, connection: Connection, handled: list[Happening]
) -> None:
    sandbox.fault("*", times=None, **page)
    deliver(payload(), payload(inspection=upload(sandbox)))

    for _ in range(12):
        assert set(Event.objects.open().values_list("attempts", flat=True)) == {0}
        assert EventQueue.objects.get().paused_until is not None
        assert Connection.objects.get().state == State.TROUBLE
        later(minutes=10)
    assert EventQueue.objects.get().pauses > 8, "the pauses grow"
    assert looks(sandbox) <= 14, "it is not asked for every event"
    assert not LookupLimit.objects.filter(used__gt=0).exists(), "an outage is no guessed ID"

    sandbox.clear_faults()
    later(minutes=10)
    assert set(Event.objects.values_list("state", flat=True)) == {Event.State.DONE}
    assert len(handled) == 2
    work_as_if_later()
    assert Connection.objects.get().state == State.CONNECTED


@pytest.mark.parametrize("fault", [{"kind": "cut"}, {"kind": "status", "status": 522}], ids=str)
def test_an_answer_that_breaks_off_is_no_answer(
    fault: dict[str, Any], sandbox: Sandbox, connection: Connection
) -> None:
    """Even if SnapInspect answers elsewhere: it is a failure of the line or of one server, and says nothing."""
    sandbox.fault(INSPECTION_PATH, times=None, **fault)
    deliver(payload())

    event, queue = event_of(), EventQueue.objects.get()
    assert (event.state, event.attempts) == (Event.State.RETRYING, 0)
    assert queue.paused_until is not None
    assert not LookupLimit.objects.filter(used__gt=0).exists()


def test_a_dead_token_behind_an_answer_with_status_200_is_replaced(sandbox: Sandbox, connection: Connection) -> None:
    """An API that answers 200 to everybody, and says in the body that the token has expired."""
    denied = {"Message": "Authorization has been denied for this request."}
    token = next(token["token"] for token in sandbox.tokens() if token["live"] and token["kind"] == "access")
    sandbox.fault("*", "raw", times=None, token=token, body=denied)
    deliver(payload())
    assert sandbox.exchanges() == 1
    assert event_of().state == Event.State.DONE


def test_look_ups_that_fail_stay_limited(sandbox: Sandbox, connection: Connection) -> None:
    sandbox.fault("/inspections*", "status", times=None, status=403)
    deliver(*(payload(inspection=1_388_561 + number) for number in range(20)))
    assert looks(sandbox) == verification.MOST_IN_A_WINDOW
    LookupLimit.objects.update(window_began_at=F("window_began_at") - verification.WINDOW)
    later(seconds=verification.WINDOW.total_seconds())
    assert looks(sandbox) == 2 * verification.MOST_IN_A_WINDOW

"""Webhooks as tests order them: by hand, misshapen, held back, in bulk."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from .receiver import Receiver
from .remote import DEADLINE, Remote
from .test_webhooks import INSPECTION, PAGE, change_status


def settled(sender: Remote, **which: Any) -> dict[str, Any]:
    listing: dict[str, Any] = sender.control("GET", "webhooks", wait=DEADLINE, **which)
    assert listing["settled"]
    return listing


def send(sender: Remote, **order: Any) -> dict[str, Any]:
    """What became of a message sent by hand."""
    listing: dict[str, Any] = sender.control("POST", "webhooks/send", wait=DEADLINE, **order)
    assert listing["settled"]
    return listing


def test_an_event_can_be_sent_again_twice_or_many_times_at_once(sender: Remote, receiver: Receiver) -> None:
    change_status(sender, "A")
    settled(sender)
    (event,) = (event["sequence"] for event in sender.control("GET", "events"))
    assert len(send(sender, event=event, copies=2)["deliveries"]) == 2
    assert receiver.most_at_once == 1

    receiver.gate.clear()
    batch = sender.control("POST", "webhooks/send", event=event, copies=5, parallel=True)["batch"]
    receiver.wait_for(8)
    assert receiver.most_at_once == 5
    receiver.gate.set()
    assert settled(sender, batch=batch)["counts"]["acknowledged"] == 5
    assert len(settled(sender, event=event)["deliveries"]) == 8
    assert len({got.body for got in receiver.received}) == 1


def test_a_message_that_is_cut_off_is_retried_whole(sender: Remote, receiver: Receiver) -> None:
    sender.control("POST", "webhooks/next", cut=True)
    change_status(sender, "A")
    (delivery,) = settled(sender)["deliveries"]
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["cut off on order", ""]
    first, second = receiver.received
    assert (first.whole, second.whole) == (False, True)
    assert 0 < len(first.body) < len(second.body)
    assert second.body.startswith(first.body)
    assert first.headers["Content-Length"] == second.headers["Content-Length"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_message_can_be_cut_off_for_good(sender: Remote, receiver: Receiver, chunked: bool) -> None:
    listing = send(sender, payload={"sType": "Create_Inspection"}, cut=True, chunked=chunked)
    assert listing["counts"]["dropped"] == 1
    assert [got.whole for got in receiver.wait_for(1)] == [False]


def test_chunks_carry_the_same_body_without_its_length(sender: Remote, receiver: Receiver) -> None:
    sender.control("POST", "webhooks/next", chunked=True, events=1)
    for status in ("in chunks", "as usual"):
        change_status(sender, status)
        settled(sender)
    chunked, usual = receiver.received
    assert (chunked.headers["Transfer-Encoding"], chunked.headers["Content-Length"]) == ("chunked", None)
    assert (usual.headers["Transfer-Encoding"], usual.headers["Content-Length"]) == (None, str(len(usual.body)))
    assert receiver.statuses == ["in chunks", "as usual"]


def test_forged_messages_and_raw_bytes_go_out_as_they_are_and_only_once(sender: Remote, receiver: Receiver) -> None:
    receiver.answers = [500, 500]
    body = b'\xff\x00{"a":' + b"x" * 1000
    forged = {"sType": "Create_Inspection", "iInspectionID": "1", "iCompanyID": 9999}
    for order in (
        {"payload": forged},
        {"body_base64": base64.b64encode(body).decode(), "content_type": "text/html"},
        {"payload": [None]},
        {"body_base64": "", "chunked": True},
    ):
        assert len(send(sender, **order)["deliveries"][0]["attempts"]) == 1
    assert [got.body for got in receiver.received[1:]] == [body, b"[null]", b""]
    assert receiver.received[0].payload == forged
    assert receiver.received[1].headers["Content-Type"] == "text/html"
    assert sender.control("GET", "events") == []


def test_a_message_can_go_to_another_address(sender: Remote, receiver: Receiver) -> None:
    send(sender, payload={}, url=f"{receiver.origin}/wrong/?a=b")
    assert [got.path for got in receiver.received] == ["/wrong/?a=b"]


def test_a_late_message_arrives_after_a_later_one(sender: Remote, receiver: Receiver) -> None:
    sender.control("POST", "time", speed=1)
    sender.control("POST", "webhooks/next", delay=3600)
    for status in ("late", "in time"):
        change_status(sender, status)
    receiver.wait_for(1)
    sender.control("POST", "time", speed=36_000)
    settled(sender)
    assert receiver.statuses == ["in time", "late"]


@pytest.mark.parametrize(("order", "expected"), [({}, "ABCD"), ({"order": "reversed"}, "DCBA")])
def test_sending_can_be_paused_and_resumed_in_either_order(
    sender: Remote, receiver: Receiver, order: dict[str, str], expected: str
) -> None:
    assert sender.control("POST", "webhooks/pause")["paused"]
    for status in "ABCD":
        change_status(sender, status)
    listing = sender.control("GET", "webhooks", wait=0.05)
    assert (listing["settled"], listing["counts"]["waiting"]) == (False, 4)
    assert receiver.received == []
    sender.control("POST", "webhooks/resume", **order)
    settled(sender)
    # As it was, several go out at once, so that only the reversed order is a promise.
    assert receiver.statuses == list(expected) if order else sorted(receiver.statuses) == list(expected)


def test_copies_in_turn_survive_a_reversed_resume(sender: Remote, receiver: Receiver) -> None:
    sender.control("POST", "webhooks/pause")
    sender.control("POST", "webhooks/next", copies=2, events=2)
    for status in "AB":
        change_status(sender, status)
    sender.control("POST", "webhooks/resume", order="reversed")
    settled(sender)
    assert receiver.statuses == ["B", "B", "A", "A"]


def test_a_bulk_tells_which_uploads_were_acknowledged_and_which_failed(sender: Remote, receiver: Receiver) -> None:
    receiver.gate.clear()
    bulk = sender.control("POST", "webhooks/bulk", events=40, company=6847, parallel=8)
    receiver.wait_for(8)
    listing = sender.control("GET", "webhooks", batch=bulk["batch"])
    made = [delivery["inspection"] for delivery in listing["deliveries"]]
    assert (len(set(made)), listing["pending"]) == (40, made)
    receiver.refused = set(made[::4])
    receiver.gate.set()
    listing = settled(sender, batch=bulk["batch"], detail="counts")
    assert set(listing["failed"]) == receiver.refused
    assert set(listing["acknowledged"]) == set(made) - receiver.refused
    assert (listing["counts"]["acknowledged"], listing["counts"]["dropped"], listing["deliveries"]) == (30, 10, [])
    assert len(receiver.received) == 30 + 5 * 10
    token = sender.grant(501)["access_token"]
    assert sender.get(f"inspections/{made[-1]}", token).status_code == 200
    assert len(sender.control("GET", "events")) == 40


def test_a_bulk_keeps_to_its_parallel_requests_and_to_its_order_when_that_is_one(
    sender: Remote, receiver: Receiver
) -> None:
    sender.control("POST", "webhooks/bulk", events=30, company=6847, parallel=3)
    settled(sender)
    assert receiver.most_at_once <= 3
    bulk = sender.control("POST", "webhooks/bulk", events=10, company=6847, copies=2, wait=DEADLINE)
    order = [got.payload["iInspectionID"] for got in receiver.received[30:]]
    assert order == sorted(bulk["acknowledged"] * 2)


def test_a_bulk_can_be_paced(sender: Remote) -> None:
    ordered = datetime.now(UTC)
    bulk = sender.control("POST", "webhooks/bulk", events=10, company=6847, parallel=10, per_second=40, wait=DEADLINE)
    last = max(datetime.fromisoformat(delivery["attempts"][0]["time"]) for delivery in bulk["deliveries"])
    # A busy machine makes starts later, never earlier.
    assert (last - ordered).total_seconds() >= 0.2


@pytest.mark.parametrize(
    ("order", "settings"),
    [
        ("webhooks/send", {}),
        ("webhooks/send", {"payload": {}, "event": 1}),
        ("webhooks/send", {"event": 99}),
        ("webhooks/send", {"payload": {}, "url": "http://elsewhere.example/"}),
        ("webhooks/send", {"payload": {}, "copies": 33}),
        ("webhooks/send", {"payload": {}, "copies": 1.5}),
        ("webhooks/send", {"payload": {}, "delay": -1}),
        ("webhooks/send", {"payload": {}, "cut": "yes"}),
        ("webhooks/send", {"payload": {}, "twice": True}),
        ("webhooks/send", {"body_base64": "%"}),
        ("webhooks/send", {"body_base64": "", "content_type": "a\r\nb: c"}),
        ("webhooks/next", {"events": 0}),
        ("webhooks/bulk", {"events": 1, "company": 1}),
        ("webhooks/bulk", {"events": 1, "company": 6847, "parallel": 33}),
        ("webhooks/bulk", {"events": 10_001, "company": 6847}),
        ("webhooks/resume", {"order": "sideways"}),
        ("time", {"speed": 0}),
        ("time", {"speed": True}),
        ("time", {"answer_within": "soon"}),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_a_sentence(
    sender: Remote, receiver: Receiver, order: str, settings: dict[str, Any]
) -> None:
    refused = sender.http.post(f"{sender.url}control/{order}", json=settings, timeout=DEADLINE)
    assert refused.status_code == 400
    assert refused.json()["error"].endswith(".")
    assert sender.control("GET", "webhooks")["deliveries"] == []
    assert receiver.received == []


def test_without_an_address_nothing_can_be_sent_by_hand(remote: Remote) -> None:
    remote.control("POST", "inspections", company=6847)
    (event,) = remote.control("GET", "events")
    for order, settings in (
        ("send", {"event": event["sequence"]}),
        ("send", {"payload": {}}),
        ("bulk", {"company": 6847}),
    ):
        refused = remote.http.post(f"{remote.url}control/webhooks/{order}", json=settings, timeout=DEADLINE)
        assert refused.json() == {"error": "There is no webhook address to send this to."}


def test_the_page_shows_what_became_of_each_event_and_can_do_all_this(sender: Remote, receiver: Receiver) -> None:
    def does(action: str, **fields: str) -> None:
        assert sender.post(PAGE, {"action": action, **fields}).status_code == 303

    receiver.answers = [503]
    change_status(sender, "<A>")
    settled(sender)
    (event,) = (str(event["sequence"]) for event in sender.control("GET", "events"))
    page = sender.get(PAGE).text
    assert "&lt;A&gt;" in page
    assert "a restart forgets" in page
    for shown in ("Attempt 1, ", ": 503<", "Attempt 2, ", ": 200<", "<strong>acknowledged</strong>"):
        assert shown in page

    does("pause")
    assert "Resume, newest first" in sender.get(PAGE).text
    for action, fields in (
        ("next", {"manner": "twice, one after the other"}),
        ("status", {"inspection": str(INSPECTION), "status": "B"}),
        ("send", {"event": event, "manner": "once"}),
        ("bytes", {"body_base64": "eA==", "content_type": "text/plain", "manner": "twice, one after the other"}),
        ("send", {"event": event, "manner": "five times at once"}),
        ("forge", {"payload": '{"sType": "Forged"}', "manner": "cut off, once"}),
        ("speed", {"speed": "7200"}),
    ):
        does(action, **fields)
    does("reverse")
    settled(sender)
    # Two for the first event, then two, one, two, five and one that is cut off.
    assert len(receiver.wait_for(13)) == 13
    page = sender.get(PAGE).text
    assert "cut off on order" in page
    assert "<strong>dropped</strong>" in page
    assert "7200 times real time" in page
    does("pause")
    does("resume")
    for wrong in (
        {"action": "forge", "payload": "{"},
        {"action": "send", "event": "99"},
        {"action": "send", "event": event, "manner": "x"},
    ):
        assert sender.post(PAGE, wrong).status_code == 400

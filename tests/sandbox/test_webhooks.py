"""Webhooks as the vendor sends them: the four payloads, the receivers, and the retries."""

import datetime
import socket
import time
from typing import Any

import pytest

from integrations import sandbox
from integrations.sandbox import webhooks

from .client import DEADLINE, REGISTERED, SandboxClient
from .receiver import Receiver

PAGE = "sandbox/inspections"
INSPECTION = 1388561  # of company 6847


def change_status(sender: SandboxClient, status: str) -> None:
    assert sender.post(PAGE, {"action": "status", "inspection": INSPECTION, "status": status}).status_code == 303


def settled(sender: SandboxClient) -> dict[str, Any]:
    listing: dict[str, Any] = sender.control("GET", "webhooks", wait=DEADLINE)
    assert listing["settled"]
    return listing


def test_what_people_do_is_posted_as_the_four_documented_payloads(sender: SandboxClient, receiver: Receiver) -> None:
    number = sender.control("POST", "inspections", company=6847)["iInspectionID"]
    token = sender.grant(501)["access_token"]
    sender.post(PAGE, {"action": "status", "inspection": number, "status": "sample status"})
    sender.post(PAGE, {"action": "review", "inspection": number})
    (review,) = sender.get(f"inspections/{number}", token).json()["reviews"]
    sender.post(PAGE, {"action": "sign", "inspection": number, "review": review["iInsReviewID"]})
    settled(sender)

    where = {"iInspectionID": number, "iCompanyID": 6847}
    reviewed = {"iInsReviewID": review["iInsReviewID"], **where}
    expected = [
        {"sType": "Create_Inspection", **where},
        {"sType": "Update_Inspection_Status", **where, "sStatus": "sample status"},
        {"sType": "Create_Review", **reviewed},
        {"sType": "Review_Signed", **reviewed},
    ]
    assert [event["payload"] for event in sender.control("GET", "events")["events"]] == expected
    assert sorted((got.payload for got in receiver.received), key=str) == sorted(expected, key=str)
    assert {got.headers["Content-Type"] for got in receiver.received} == {"application/json"}
    assert {got.path for got in receiver.received} == {"/hooks/secret-part/"}
    # The API has what the webhook only points at.
    record = sender.get(f"inspections/{number}", token).json()
    assert (record["sStatus"], record["reviews"][0]["bSigned"]) == ("sample status", True)
    listed = sender.get("inspections?since=2025-06-01", token).json()["inspections"]
    assert [inspection["iInspectionID"] for inspection in listed] == [number]


@pytest.mark.parametrize("status", [201, 204, 302, 404, 500])
def test_anything_but_200_is_tried_four_more_times_with_the_same_bytes_and_then_dropped(
    sender: SandboxClient, receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status] * 10
    sender.control("POST", "inspections", company=6847)
    listing = settled(sender)
    (delivery,) = listing["deliveries"]
    assert (delivery["state"], listing["acknowledged"]) == ("dropped", [])
    assert [attempt["status"] for attempt in delivery["attempts"]] == [status] * 5
    assert len(receiver.received) == 5
    assert {(got.path, got.body) for got in receiver.received} == {("/hooks/secret-part/", receiver.received[0].body)}


def test_the_retries_come_within_two_hours() -> None:
    assert list(webhooks.RETRIES_AFTER) == sorted(set(webhooks.RETRIES_AFTER))
    assert webhooks.RETRIES_AFTER[-1] < 2 * 3600


def test_a_200_ends_the_retries(sender: SandboxClient, receiver: Receiver) -> None:
    receiver.statuses = [503, 500, 200]
    sender.control("POST", "inspections", company=6847)
    listing = settled(sender)
    (delivery,) = listing["deliveries"]
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, 500, 200]
    assert (delivery["state"], delivery["next"]) == ("acknowledged", None)
    assert listing["acknowledged"] == [delivery["inspection"]]


def test_in_real_time_a_retry_waits_for_minutes(receiver: Receiver) -> None:
    receiver.statuses = [500]
    with (
        sandbox.serve(**REGISTERED, webhook_url=receiver.url) as server,
        SandboxClient(server.url) as sender,
    ):
        sender.control("POST", "inspections", company=6847)
        receiver.wait_for(1)
        delivery = failed_once(sender)
        assert not sender.control("GET", "webhooks", wait=0.05)["settled"]
    assert delivery["state"] == "waiting"
    times = [datetime.datetime.fromisoformat(text) for text in (delivery["attempts"][0]["time"], delivery["next"])]
    assert datetime.timedelta(minutes=4) < times[1] - times[0] < datetime.timedelta(minutes=6)
    assert len(receiver.received) == 1


def failed_once(sender: SandboxClient) -> dict[str, Any]:
    """The only delivery, when its first failure is recorded: a moment after the receiver's answer."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        delivery: dict[str, Any] = sender.control("GET", "webhooks", wait=0.01)["deliveries"][0]
        if delivery["attempts"]:
            return delivery
    raise AssertionError("no attempt was recorded")


def test_the_url_of_a_personal_token_gets_the_events_of_its_company_while_the_token_lives(
    sender: SandboxClient, receiver: Receiver
) -> None:
    own = f"{receiver.origin}/own/"
    token = sender.control("POST", "personal", account=501, webhook_url=own)["token"]
    # The same URL again, and the application's: neither causes a second message.
    for url in (own, receiver.url):
        sender.control("POST", "personal", account=502, webhook_url=url)
    for company in (6847, 7001):
        sender.control("POST", "inspections", company=company)
    settled(sender)
    seen = sorted((got.path, got.payload["iCompanyID"]) for got in receiver.received)
    assert seen == [("/hooks/secret-part/", 6847), ("/hooks/secret-part/", 7001), ("/own/", 6847)]

    sender.control("POST", "revoke_all", kind="personal")
    sender.control("POST", "inspections", company=6847)
    listing = settled(sender)
    assert len(receiver.received) == 4
    # The listing describes the URL, and contains neither the URL nor the token.
    assert {delivery["to"].rpartition(" ")[0] for delivery in listing["deliveries"]} == {"", "personal token"}
    assert not any(secret in str(listing) for secret in ("secret-part", "/own/", token))


def test_a_receiver_that_hangs_delays_nobody_and_counts_as_failed(
    sender: SandboxClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "ANSWER_SECONDS", 0.2)
    receiver.gate.clear()
    change_status(sender, "A")
    receiver.wait_for(1)
    assert sender.get(PAGE).status_code == 200
    (delivery,) = settled(sender)["deliveries"]
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["TimeoutError"] * 5


def test_a_url_where_nobody_listens_is_a_failure_and_not_shown(sender: SandboxClient, receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/own/"
    sender.control("POST", "personal", account=501, webhook_url=url)
    change_status(sender, "A")
    listing = settled(sender)
    (delivery,) = (delivery for delivery in listing["deliveries"] if delivery["to"] != "application")
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["ConnectionRefusedError"] * 5
    assert "/own/" not in str(listing) + sender.get(PAGE).text


def test_a_pause_holds_webhooks_back_until_it_ends(sender: SandboxClient, receiver: Receiver) -> None:
    sender.control("POST", "webhooks/pause")
    for status in "ABCD":
        change_status(sender, status)
    listing = sender.control("GET", "webhooks", wait=0.05)
    assert [delivery["state"] for delivery in listing["deliveries"]] == ["waiting"] * 4
    assert receiver.received == []
    sender.control("POST", "webhooks/resume")
    settled(sender)
    assert sorted(got.payload["sStatus"] for got in receiver.received) == list("ABCD")


def test_many_webhooks_are_sent_at_the_same_time(sender: SandboxClient, receiver: Receiver) -> None:
    receiver.gate.clear()
    for number in range(webhooks.SENDERS + 1):
        change_status(sender, str(number))
    assert len(receiver.wait_for(webhooks.SENDERS)) == webhooks.SENDERS
    receiver.gate.set()
    assert len(settled(sender)["acknowledged"]) == webhooks.SENDERS + 1


def test_a_reset_forgets_the_deliveries_under_way_and_the_waiting_ones(
    sender: SandboxClient, receiver: Receiver
) -> None:
    receiver.gate.clear()
    for _ in range(webhooks.SENDERS):
        change_status(sender, "A")
    receiver.wait_for(webhooks.SENDERS)
    change_status(sender, "never")
    sender.control("POST", "reset")
    receiver.gate.set()
    assert settled(sender)["deliveries"] == []
    change_status(sender, "B")
    settled(sender)
    assert [got.payload["sStatus"] for got in receiver.received] == ["A"] * webhooks.SENDERS + ["B"]


@pytest.mark.parametrize(
    ("url", "acceptable"),
    [
        ("https://hooks.example/path", True),
        ("http://localhost:8000/path", True),
        ("http://127.0.0.1/path", True),
        ("http://hooks.example/path", False),
        ("https:///path", False),
        ("http://localhost:port/path", False),
        ("ftp://localhost/path", False),
        ("path", False),
    ],
)
def test_a_webhook_url_is_https_or_on_this_machine(url: str, acceptable: bool) -> None:
    assert webhooks.is_acceptable(url) is acceptable

"""Webhooks as the vendor sends them: the four payloads, to whom, and how often."""

import datetime
import socket
import ssl
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from integrations import sandbox
from integrations.sandbox.posting import tls

from .receiver import Receiver, receiving
from .remote import DEADLINE, REGISTERED, Remote

PAGE = "sandbox/inspections"
INSPECTION = 1388561  # of company 6847


def change_status(sender: Remote, status: str) -> None:
    assert sender.post(PAGE, {"action": "status", "inspection": INSPECTION, "status": status}).status_code == 303


def test_what_people_do_is_posted_as_the_four_documented_payloads(sender: Remote, receiver: Receiver) -> None:
    number = sender.control("POST", "inspections", company=6847)["iInspectionID"]
    token = sender.grant(501)["access_token"]
    sender.post(PAGE, {"action": "status", "inspection": number, "status": "sample status"})
    sender.post(PAGE, {"action": "review", "inspection": number})
    (review,) = sender.get(f"inspections/{number}", token).json()["reviews"]
    sender.post(PAGE, {"action": "sign", "inspection": number, "review": review["iInsReviewID"]})
    assert sender.control("GET", "webhooks", wait=DEADLINE)["settled"]

    where = {"iInspectionID": number, "iCompanyID": 6847}
    reviewed = {"iInsReviewID": review["iInsReviewID"], **where}
    expected = [
        {"sType": "Create_Inspection", **where},
        {"sType": "Update_Inspection_Status", **where, "sStatus": "sample status"},
        {"sType": "Create_Review", **reviewed},
        {"sType": "Review_Signed", **reviewed},
    ]
    assert sorted((got.payload for got in receiver.received), key=str) == sorted(expected, key=str)
    assert {got.headers["Content-Type"] for got in receiver.received} == {"application/json"}
    assert {got.path for got in receiver.received} == {"/hooks/secret-part/"}
    # What the webhook only hints at, the API tells.
    record = sender.get(f"inspections/{number}", token).json()
    assert (record["sStatus"], record["reviews"][0]["bSigned"]) == ("sample status", True)
    listed = sender.get("inspections?since=2025-06-01", token).json()["inspections"]
    assert [inspection["iInspectionID"] for inspection in listed] == [number]


@pytest.mark.parametrize("status", [201, 204, 302, 404, 500])
def test_anything_but_200_is_tried_four_more_times_with_the_same_bytes_and_then_dropped(
    sender: Remote, receiver: Receiver, status: int
) -> None:
    receiver.answers = [status] * 10
    sender.control("POST", "inspections", company=6847)
    listing = sender.control("GET", "webhooks", wait=DEADLINE)
    (delivery,) = listing["deliveries"]
    assert delivery["state"] == "dropped"
    assert [attempt["status"] for attempt in delivery["attempts"]] == [status] * 5
    after = [attempt["after"] for attempt in delivery["attempts"]]
    assert after == sorted(set(after))
    assert after[-1] < 2 * 3600
    assert len(receiver.received) == 5
    assert {(got.path, got.body) for got in receiver.received} == {("/hooks/secret-part/", receiver.received[0].body)}
    assert listing["failed"] == [delivery["inspection"]]


def test_a_200_ends_the_retries(sender: Remote, receiver: Receiver) -> None:
    receiver.answers = [503, 500, 200]
    sender.control("POST", "inspections", company=6847)
    listing = sender.control("GET", "webhooks", wait=DEADLINE)
    (delivery,) = listing["deliveries"]
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503, 500, 200]
    assert (delivery["state"], delivery["next"]) == ("acknowledged", None)
    assert listing["acknowledged"] == [delivery["inspection"]]


def test_a_retry_comes_no_sooner_than_its_minutes_and_the_clock_can_be_sped_up(
    sender: Remote, receiver: Receiver
) -> None:
    sender.control("POST", "time", speed=1)
    receiver.answers = [500]
    sender.control("POST", "inspections", company=6847)
    receiver.wait_for(1)
    delivery = failed_once(sender)
    assert delivery["state"] == "waiting"
    times = [datetime.datetime.fromisoformat(text) for text in (delivery["attempts"][0]["time"], delivery["next"])]
    assert datetime.timedelta(minutes=4) < times[1] - times[0] < datetime.timedelta(minutes=6)
    assert sender.control("GET", "webhooks", wait=0.05)["pending"] == [delivery["inspection"]]
    sender.control("POST", "time", speed=36_000)
    assert sender.control("GET", "webhooks", wait=DEADLINE)["acknowledged"] == [delivery["inspection"]]


def failed_once(sender: Remote) -> dict[str, Any]:
    """The only delivery, once its first failure has been noted: a moment after the receiver gave its answer."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        delivery: dict[str, Any] = sender.control("GET", "webhooks", wait=0.01)["deliveries"][0]
        if delivery["attempts"]:
            return delivery
    raise AssertionError("no attempt was noted")


def test_a_personal_tokens_address_gets_the_events_of_its_company_while_the_token_lives(
    sender: Remote, receiver: Receiver
) -> None:
    own = f"{receiver.origin}/own/"
    token = sender.control("POST", "personal", account=501, webhook_url=own)["token"]
    # The same address once more, and the application's: neither makes a second message.
    for address in (own, receiver.url):
        sender.control("POST", "personal", account=502, webhook_url=address)
    for company in (6847, 7001):
        sender.control("POST", "inspections", company=company)
    assert sender.control("GET", "webhooks", wait=DEADLINE)["settled"]
    seen = sorted((got.path, got.payload["iCompanyID"]) for got in receiver.received)
    assert seen == [("/hooks/secret-part/", 6847), ("/hooks/secret-part/", 7001), ("/own/", 6847)]

    sender.control("POST", "revoke_all", kind="personal")
    sender.control("POST", "inspections", company=6847)
    listing = sender.control("GET", "webhooks", wait=DEADLINE)
    assert len(receiver.received) == 4
    # The listing says whose address it was, and neither the address nor the token.
    assert {delivery["to"].rpartition(" ")[0] for delivery in listing["deliveries"]} == {"", "personal token"}
    assert not any(secret in str(listing) for secret in ("secret-part", "/own/", token))


def test_a_receiver_that_hangs_keeps_nobody_waiting_and_counts_as_failed_in_the_end(
    sender: Remote, receiver: Receiver
) -> None:
    receiver.gate.clear()
    sender.control("POST", "time", answer_within=0.2)
    change_status(sender, "A")
    receiver.wait_for(1)
    assert sender.get(PAGE).status_code == 200
    (delivery,) = sender.control("GET", "webhooks", wait=DEADLINE)["deliveries"]
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["TimeoutError"] * 5


def test_an_address_where_nobody_listens_is_a_failure_like_any_other(sender: Remote) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/secret-part/"
    listing = sender.control("POST", "webhooks/send", payload={}, url=address, retry=True, wait=DEADLINE)
    (delivery,) = listing["deliveries"]
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["ConnectionRefusedError"] * 5
    assert "secret-part" not in str(listing) + sender.get(PAGE).text


def test_without_an_address_events_are_only_listed(remote: Remote) -> None:
    remote.control("POST", "inspections", company=6847)
    assert remote.control("GET", "webhooks")["deliveries"] == []
    assert len(remote.control("GET", "events")) == 1
    assert "No webhook address is registered" in remote.get(PAGE).text


def test_a_reset_forgets_what_is_under_way_and_what_waits_for_a_free_sender(sender: Remote, receiver: Receiver) -> None:
    receiver.gate.clear()
    sender.control("POST", "webhooks/send", payload={"sStatus": "A"}, copies=32, parallel=True)
    receiver.wait_for(32)
    sender.control("POST", "webhooks/send", payload={"sStatus": "never"}, copies=3, parallel=True)
    sender.control("POST", "reset")
    receiver.gate.set()
    assert sender.control("GET", "webhooks", wait=DEADLINE)["deliveries"] == []
    change_status(sender, "B")
    assert sender.control("GET", "webhooks", wait=DEADLINE)["settled"]
    assert receiver.statuses == ["A"] * 32 + ["B"]


def test_a_certificate_is_checked_unless_the_address_is_on_this_machine(tmp_path: Path) -> None:
    assert tls(verified=True).verify_mode == ssl.CERT_REQUIRED
    assert tls(verified=True).check_hostname
    with (
        receiving(self_signed(tmp_path)) as receiver,
        sandbox.serve(**REGISTERED, webhook_url=receiver.url) as server,
    ):
        sender = Remote(server.url)
        with sender.http:
            change_status(sender, "A")
            assert sender.control("GET", "webhooks", wait=DEADLINE)["counts"]["acknowledged"] == 1
        assert receiver.statuses == ["A"]


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's TLS context with a certificate that nobody has reason to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "both.pem").write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context

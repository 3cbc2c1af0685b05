"""The pages for people."""

import re

from .client import DEADLINE, PREFIX, SandboxClient
from .receiver import Receiver
from .test_webhooks import INSPECTION, PAGE, change_status


def test_the_overview_the_favicon_and_head(client: SandboxClient) -> None:
    assert "Stand-in for SnapInspect" in client.get("").text
    assert client.get("favicon.ico").status_code == 204
    head = client.http.head(client.url, timeout=DEADLINE)
    assert (head.status_code, head.content) == (200, b"")


def test_a_personal_access_token_is_shown_once_works_like_an_access_token_and_can_be_revoked(
    client: SandboxClient,
) -> None:
    path = "integration/PersonalAccessTokens"
    for bad in ({"account": "999"}, {"account": "501", "webhook_url": "http://elsewhere.example/"}):
        assert client.post(path, bad).status_code == 400
    issued = client.post(path, {"account": "501", "webhook_url": "https://hooks.example/<1>"})
    (token,) = re.findall(rf"<code>({PREFIX}[^<]+)</code>", issued.text)
    assert client.get("user", token).status_code == 200
    listed = client.get(path).text
    assert token not in listed
    assert "https://hooks.example/&lt;1&gt;" in listed
    (serial,) = re.findall(r'name="token" value="(\d+)"', listed)
    assert client.post(path, {"action": "revoke", "token": serial}).status_code == 303
    assert client.get("user", token).status_code == 401


def test_inspections_are_changed_by_the_forms_of_their_page(client: SandboxClient) -> None:
    def submit(**fields: str) -> int:
        return client.post(PAGE, fields).status_code

    assert submit(action="upload", company="6847", title="<New>") == 303
    assert "&lt;New&gt;" in client.get(PAGE).text
    (event,) = client.control("GET", "events")["events"]
    number = str(event["payload"]["iInspectionID"])
    assert submit(action="review", inspection=number) == 303
    (review,) = re.findall(r'name="review" value="(\d+)"', client.get(PAGE).text)
    assert submit(action="sign", inspection=number, review=review) == 303
    assert submit(action="sign", inspection=number, review=review) == 400
    assert submit(action="upload", company="1") == submit(action="unknown", inspection=number) == 400
    assert "No webhook URL is registered" in client.get(PAGE).text


def test_the_page_shows_each_attempt_and_sends_again(sender: SandboxClient, receiver: Receiver) -> None:
    def submit(action: str, **fields: str) -> None:
        assert sender.post(PAGE, {"action": action, **fields}).status_code == 303

    receiver.statuses = [503]
    change_status(sender, "<A>")
    assert sender.control("GET", "webhooks", wait=DEADLINE)["settled"]
    page = sender.get(PAGE).text
    for shown in ("&lt;A&gt;", "Attempt 1, ", ": 503<", "Attempt 2, ", ": 200<", "<strong>acknowledged</strong>"):
        assert shown in page

    submit("pause")
    assert "Sending is paused" in sender.get(PAGE).text
    (event,) = (str(event["sequence"]) for event in sender.control("GET", "events")["events"])
    submit("resend", event=event)
    submit("send", payload='{"sType": "Unknown"')
    assert len(receiver.received) == 2
    submit("resume")
    bodies = [received.body for received in receiver.wait_for(4)]
    assert sorted(bodies) == sorted([bodies[0]] * 3 + [b'{"sType": "Unknown"'])
    assert sender.post(PAGE, {"action": "resend", "event": "99"}).status_code == 400


def test_without_a_registered_url_nothing_can_be_sent(client: SandboxClient) -> None:
    refused = client.post(PAGE, {"action": "send", "payload": "{}"})
    assert refused.status_code == 400
    assert "There is no webhook URL to send this to." in refused.text
    assert client.post(PAGE, {"action": "status", "inspection": INSPECTION, "status": "A"}).status_code == 303
    assert client.control("GET", "webhooks")["deliveries"] == []

"""The receiver for Connect's webhooks: what the product signs is verified by code that shares nothing with it."""

from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from integrations.outgoing.signatures import new_secret, signed_headers
from integrations.sandbox import receiver

from .client import SandboxClient

PAGE, HOOK = receiver.PAGE_PATH.removeprefix("/"), receiver.HOOK_PATH.removeprefix("/")
BODY = '{"type": "endpoint.test", "data": {"name": "<Büro>"}}'.encode()


def configure(client: SandboxClient, *, secret: str = "", answer: str = "200") -> None:
    assert client.post(PAGE, {"secret": secret, "answer": answer}).status_code == 303


def send(client: SandboxClient, *secrets: str, at: datetime | None = None, body: bytes = BODY) -> int:
    headers = signed_headers(secrets, message_id="msg_1", at=at or datetime.now(UTC), body=BODY)
    return client.post(HOOK, body, headers={"Content-Type": "application/json"} | headers).status_code


def page(client: SandboxClient) -> str:
    return unescape(client.get(PAGE).text)


def test_what_came_is_shown_with_what_its_signature_is_worth(client: SandboxClient) -> None:
    old, new = new_secret(), new_secret()
    assert f"{client.url}{HOOK}" in page(client) and "Nothing yet." in page(client)
    assert send(client, old) == 200
    assert "not verified: enter the endpoint’s secret" in page(client)
    for signers, changes, verdict in [
        ((new, old), {}, "signature verified"),
        ((new,), {}, "WRONG SIGNATURE"),
        ((old,), {"body": BODY.replace(b"test", b"fake")}, "WRONG SIGNATURE"),
        ((old,), {"at": datetime.now(UTC) - timedelta(minutes=6)}, "too old or too new"),
    ]:
        client.control("POST", "reset")
        configure(client, secret=old)
        assert send(client, *signers, **changes) == 200  # type: ignore[arg-type]
        assert f"<strong>{verdict}</strong>" in page(client), verdict
    assert send(client, old) == 200
    shown = page(client)
    assert "received 2 times" in shown and old not in shown
    assert "&lt;Büro&gt;" in client.get(PAGE).text
    client.post(HOOK, b"{}")
    assert "<strong>unsigned</strong>" in page(client)


@pytest.mark.parametrize("answer", receiver.ANSWERS)
def test_it_answers_as_told(client: SandboxClient, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "SLOW_SECONDS", 0.01)
    configure(client, answer=answer)
    assert send(client, new_secret()) == {"slow": 200, "redirect": 302}.get(answer) or int(answer)


def test_other_answers_and_unreadable_secrets_are_refused(client: SandboxClient) -> None:
    assert client.post(PAGE, {"answer": "600"}).status_code == 400
    assert client.post(PAGE, {"secret": "whsec_ü", "answer": "200"}).status_code == 400

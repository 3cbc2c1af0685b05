"""Signatures of outgoing webhooks, checked by the specification's own library."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from integrations.outgoing.signatures import new_secret, signed_headers

BODY = json.dumps({"type": "endpoint.test", "data": {"name": "Büro 7"}}, ensure_ascii=False).encode()


def headers(*signing_secrets: str, at: datetime | None = None, message_id: str = "msg_1") -> dict[str, str]:
    return signed_headers(signing_secrets, message_id=message_id, at=at or datetime.now(UTC), body=BODY)


def test_a_secret_is_the_prefix_and_32_random_bytes() -> None:
    one, other = new_secret(), new_secret()
    assert one != other and one.startswith("whsec_")
    assert len(base64.b64decode(one.removeprefix("whsec_"), validate=True)) == 32


def test_the_public_library_verifies_a_signature() -> None:
    secret = new_secret()
    assert Webhook(secret).verify(BODY, headers(secret)) == json.loads(BODY)


@pytest.mark.parametrize("hours", [-11, 0, 13])
def test_a_time_in_any_zone_is_signed_right(hours: int) -> None:
    secret = new_secret()
    at = datetime.now(timezone(timedelta(hours=hours)))
    Webhook(secret).verify(BODY, headers(secret, at=at))


def test_while_secrets_overlap_either_verifies_and_no_other_does() -> None:
    new, old = new_secret(), new_secret()
    signed = headers(new, old)
    for secret in (new, old):
        Webhook(secret).verify(BODY, signed)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, signed)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(BODY, headers(new))


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(int(datetime.now(UTC).timestamp()) + 2)},
        {"webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()},
    ],
)
def test_what_was_tampered_with_is_refused(changes: dict[str, str]) -> None:
    secret = new_secret()
    signed = headers(secret)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, signed | changes)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY.replace(b"7", b"8"), signed)


def test_an_old_request_cannot_be_repeated() -> None:
    secret = new_secret()
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(secret).verify(BODY, headers(secret, at=datetime.now(UTC) - timedelta(minutes=6)))

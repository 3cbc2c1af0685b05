"""The control API: the request log, refused requests, and who may use it."""

from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from typing import Any

import pytest

from integrations.sandbox import control_api
from integrations.sandbox.http_messages import Request
from integrations.sandbox.provider import Provider, Registration

from .client import ASKED, DEADLINE, EXCHANGE, PREFIX, REDIRECT_URI, SandboxClient


def test_the_log_contains_the_requests_and_no_secret(client: SandboxClient) -> None:
    pair = client.grant()
    client.exchange(pair["refresh_token"])
    client.get("user", pair["access_token"], params={"a": "x"})
    answer = client.http.get(f"{client.url}control/log", timeout=DEADLINE)
    exchange, user = answer.json()["requests"]
    assert (exchange["method"], exchange["path"], exchange["status"]) == ("POST", f"/{EXCHANGE}", 200)
    assert exchange["redirect_uri"] == REDIRECT_URI
    assert (user["path"], user["status"], user["company"]) == ("/user", 401, 6847)
    assert len(user["token"]) == len(exchange["token"]) == 6
    for secret in (*pair.values(), PREFIX, "stand-in-secret", ASKED["state"]):
        assert secret not in answer.text
    assert client.control("GET", "log", after=exchange["sequence"])["requests"] == [user]
    client.control("DELETE", "log")
    assert client.control("GET", "log")["requests"] == []


def test_a_wait_on_the_log_ends_with_the_first_matching_request(client: SandboxClient) -> None:
    with ThreadPoolExecutor(1) as pool:
        # Longer than the client waits: only the request can end it.
        waiting = pool.submit(client.control, "GET", "log", path="/user", wait=2 * DEADLINE)
        client.get("inspections")
        client.get("user")
        assert [seen["path"] for seen in waiting.result(DEADLINE)["requests"]] == ["/user"]
    assert client.control("GET", "log", path="/never", wait=0.01)["requests"] == []


@pytest.mark.parametrize(
    ("operation", "settings"),
    [
        ("faults", {"path": "/user", "unknown": 1}),
        ("faults", {"status": 500}),
        ("token_settings", {"mode": "lenient"}),
        ("grant", {"account": 999}),
        ("grant", {"account": None}),
        ("personal", {"account": 501, "webhook_url": "http://elsewhere.example/"}),
        ("revoke", {"token": "never-issued"}),
        ("inspections", {"company": 1}),
        ("accounts", {"company": "x"}),
    ],
)
def test_invalid_settings_are_refused_with_a_sentence(
    client: SandboxClient, operation: str, settings: dict[str, Any]
) -> None:
    refused = client.http.post(f"{client.url}control/{operation}", json=settings, timeout=DEADLINE)
    assert refused.status_code == 400
    assert refused.json()["error"].endswith(".")


def test_a_web_page_cannot_use_it(client: SandboxClient) -> None:
    """A cross-site form can post, but not with this content type."""
    refused = client.post("control/revoke_all", '{"kind": "access"}', headers={"Content-Type": "text/plain"})
    assert refused.status_code == 400


@pytest.mark.parametrize(("peer", "status"), [("192.0.2.7", 403), ("127.0.0.1", 200), ("::ffff:127.0.0.1", 200)])
def test_it_answers_this_machine_only(peer: str, status: int) -> None:
    provider = Provider(Registration("a", "b", REDIRECT_URI, "c"))
    request = Request("GET", "/control/tokens", Message(), b"", peer)
    assert control_api.answer(provider, request).render().status == status
    provider.storage.close()


def test_accounts_can_be_added_and_tokens_revoked_by_kind(client: SandboxClient) -> None:
    added = client.control("POST", "accounts", company=8001)
    pair = client.grant(added["account"])
    assert client.get("user", pair["access_token"]).json()["company"]["iCompanyID"] == 8001
    assert client.get("user", client.control("POST", "personal", account=501)["token"]).status_code == 200
    assert client.control("POST", "revoke_all", kind="access") == {"revoked": 1}
    assert client.exchange(pair["refresh_token"]).status_code == 200
    client.control("POST", "revoke_all")
    assert client.live() == set()


def test_a_reset_removes_everything_but_the_samples(client: SandboxClient) -> None:
    client.control("POST", "accounts", company=8001, account=9)
    client.control("POST", "token_settings", mode="grace", length=200)
    client.control("POST", "inspections", company=8001)
    client.fault("/user", status=500)
    client.control("POST", "reset")
    assert client.control("GET", "log")["requests"] == client.control("GET", "events")["events"] == []
    pair = client.grant()
    assert len(pair["access_token"]) < 200
    assert client.get("user", pair["access_token"]).status_code == 200
    assert client.exchange(pair["refresh_token"]).status_code == 200
    assert client.exchange(pair["refresh_token"]).status_code == 400

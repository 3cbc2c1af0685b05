"""The control address: what was seen, orders refused, and who may give them."""

from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from typing import Any

import pytest

from integrations.sandbox import control
from integrations.sandbox.messages import Request
from integrations.sandbox.world import Registration, World

from .remote import ASKED, DEADLINE, EXCHANGE, PREFIX, REDIRECT_URI, Remote, form


def test_the_log_says_what_came_and_no_secret(remote: Remote) -> None:
    pair = remote.grant()
    remote.exchange(pair["refresh_token"], headers={"User-Agent": "tests"})
    remote.get("user", pair["access_token"], params={"b": "x", "a": "x"})
    answer = remote.http.get(f"{remote.url}control/log", timeout=DEADLINE)
    exchange, user = answer.json()["requests"]
    assert exchange["form"] == sorted(form(""))
    assert (exchange["method"], exchange["path"], exchange["status"]) == ("POST", f"/{EXCHANGE}", 200)
    assert (exchange["redirect_uri"], exchange["user_agent"]) == (REDIRECT_URI, "tests")
    assert (user["path"], user["query"], user["status"], user["company"]) == ("/user", ["a", "b"], 401, 6847)
    assert len(user["token"]) == len(exchange["token"]) == 6
    for secret in (*pair.values(), PREFIX, "stand-in-secret", ASKED["state"]):
        assert secret not in answer.text
    assert remote.control("GET", "log", after=exchange["sequence"])["requests"] == [user]
    remote.control("DELETE", "log")
    assert remote.control("GET", "log")["requests"] == []


def test_a_wait_on_the_log_ends_with_the_request_waited_for(remote: Remote) -> None:
    with ThreadPoolExecutor(1) as pool:
        # Longer than the client waits: it must be the request that ends it.
        waiting = pool.submit(remote.control, "GET", "log", path="/user", wait=2 * DEADLINE)
        remote.get("assets")
        remote.get("user")
        assert [seen["path"] for seen in waiting.result(DEADLINE)["requests"]] == ["/user"]
    assert remote.control("GET", "log", path="/never", wait=0.01)["requests"] == []


@pytest.mark.parametrize(
    ("order", "settings"),
    [
        ("faults", {"path": "/user", "kind": "unheard-of"}),
        ("faults", {"path": "/user", "kind": "cut", "megabytes": 1}),
        ("faults", {"kind": "cut"}),
        ("mode", {"mode": "lenient"}),
        ("grant", {"account": 999}),
        ("grant", {"account": None}),
        ("personal", {"account": 501, "webhook_url": "http://elsewhere.example/"}),
        ("revoke", {"token": "never-minted"}),
        ("inspections", {"company": 1}),
        ("accounts", {"company": "x"}),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_a_sentence(
    remote: Remote, order: str, settings: dict[str, Any]
) -> None:
    refused = remote.http.post(f"{remote.url}control/{order}", json=settings, timeout=DEADLINE)
    assert refused.status_code == 400
    assert refused.json()["error"].endswith(".")


def test_a_web_page_cannot_give_orders(remote: Remote) -> None:
    """A cross-site form can post, but not with this content type."""
    refused = remote.post("control/revoke_all", '{"kind": "access"}', headers={"Content-Type": "text/plain"})
    assert refused.status_code == 400


@pytest.mark.parametrize(("peer", "status"), [("192.0.2.7", 403), ("127.0.0.1", 200), ("::ffff:127.0.0.1", 200)])
def test_the_control_address_answers_this_machine_only(peer: str, status: int) -> None:
    world = World(Registration("a", "b", REDIRECT_URI, "c"), mode="strict", state_file=None)
    request = Request("GET", "/control/tokens", Message(), b"", peer)
    assert control.answer(world, request).render().status == status
    world.records.close()


def test_accounts_can_be_added_and_tokens_ended_by_kind(remote: Remote) -> None:
    added = remote.control("POST", "accounts", company=8001, name="New")
    pair = remote.grant(added["account"])
    assert remote.get("user", pair["access_token"]).json()["company"]["iCompanyID"] == 8001
    assert remote.get("user", remote.control("POST", "personal", account=501)["token"]).status_code == 200
    assert remote.control("POST", "revoke_all", kind="access") == {"revoked": 1}
    assert remote.exchange(pair["refresh_token"]).status_code == 200
    remote.control("POST", "revoke_all")
    assert remote.live() == set()

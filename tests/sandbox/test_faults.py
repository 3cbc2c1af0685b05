"""Each setting of a fault does what it says, and only to the requests that match."""

import base64
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from integrations import sandbox

from .client import ASKED, CONNECT, DEADLINE, EXCHANGE, REGISTERED, SandboxClient, form, returned


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"status": 429, "headers": {"Retry-After": "7"}, "body": {"slow": "down"}}, b'{"slow": "down"}'),
        ({"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<p>é"}, "<p>é".encode()),
        ({"status": 200, "body_base64": base64.b64encode(b"\xff\x00{").decode()}, b"\xff\x00{"),
        ({"status": 307, "headers": {"Location": "http://127.0.0.1:9/elsewhere"}}, b""),
    ],
)
def test_an_answer_is_replaced_and_the_request_not_carried_out(
    client: SandboxClient, settings: dict[str, Any], expected: bytes
) -> None:
    pair = client.grant()
    client.fault(f"/{EXCHANGE}", times=1, **settings)
    answer = client.exchange(pair["refresh_token"])
    assert (answer.status_code, answer.content) == (settings["status"], expected)
    assert settings.get("headers", {}).items() <= dict(answer.headers).items()
    assert client.live() == set(pair.values())
    assert client.exchange(pair["refresh_token"]).json()["token_type"] == "Bearer"


def test_an_answer_is_replaced_after_the_request_was_carried_out(client: SandboxClient) -> None:
    pair = client.grant()
    client.fault(f"/{EXCHANGE}", times=1, work=True, status=500)
    assert client.exchange(pair["refresh_token"]).status_code == 500
    assert len(client.live()) == 2
    assert client.live().isdisjoint(pair.values())


@pytest.mark.parametrize("work", [False, True])
def test_the_connection_is_closed_without_an_answer(client: SandboxClient, work: bool) -> None:
    pair = client.grant()
    client.fault(f"/{EXCHANGE}", times=1, close=True, work=work)
    with pytest.raises(requests.ConnectionError):
        client.exchange(pair["refresh_token"])
    assert (client.live() != set(pair.values())) is work
    assert len(client.live()) == 2


def test_an_answer_can_be_shorter_than_its_content_length(client: SandboxClient) -> None:
    client.fault("/user", status=200, headers={"Content-Length": "100", "Connection": "close"}, body="{")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.get("user")


def test_a_share_of_the_requests_is_affected_at_random(client: SandboxClient) -> None:
    client.fault("/user", status=503, share=0.5)
    client.fault("/inspections", status=503, share=0)
    token = client.grant()["access_token"]
    assert {client.get("user", token).status_code for _ in range(60)} == {200, 503}
    assert {client.get("inspections", token).status_code for _ in range(20)} == {200}


def test_a_delayed_request_continues_when_the_faults_are_cleared(client: SandboxClient) -> None:
    client.fault("/user", delay=3600, times=1)
    token, last = client.grant()["access_token"], client.control("GET", "log")["last"]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.get, "user", token)
        assert client.control("GET", "log", after=last, path="/user", wait=DEADLINE)["requests"]
        assert not answer.done()
        client.control("DELETE", "faults")
        assert answer.result(DEADLINE).json()["iUserID"] == 501


def test_delays_add_up_and_the_oldest_answer_is_sent(client: SandboxClient) -> None:
    for settings in ({"status": 502}, {"delay": 0.2}, {"status": 503}, {"delay": 0.2}):
        client.fault("/user", times=1, **settings)
    first, second = client.get("user"), client.get("user")
    assert first.elapsed.total_seconds() >= 0.4
    assert (first.status_code, second.status_code) == (502, 503)


@pytest.mark.parametrize("work", [False, True])
def test_a_delayed_exchange_of_a_client_that_left_is_carried_out_only_with_work(tmp_path: Path, work: bool) -> None:
    state_file = str(tmp_path / "state.sqlite3")
    with sandbox.serve(**REGISTERED, state_file=state_file) as server, SandboxClient(server.url) as client:
        pair = client.grant()
        client.fault(f"/{EXCHANGE}", delay=3600, work=work)
        body = requests.Request("POST", server.url + EXCHANGE, data=form(pair["refresh_token"])).prepare().body
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"POST /{EXCHANGE} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(str(body))}\r\n"
            head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
            connection.sendall(f"{head}{body!s}".encode())
            assert client.control("GET", "log", path=f"/{EXCHANGE}", wait=DEADLINE)["requests"]
    # Stopping waited for the request, so its result is final.
    with sandbox.serve(**REGISTERED, state_file=state_file) as server, SandboxClient(server.url) as client:
        assert (client.live() != set(pair.values())) is work


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"change": {"access_token": None}}, {"access_token": None}),
        ({"remove": ["access_token"]}, {"access_token": "absent"}),
        ({"change": {"state": "other", "expires_in": ""}}, {"state": "other", "expires_in": ""}),
    ],
)
def test_the_fields_of_a_json_answer_are_changed(
    client: SandboxClient, settings: dict[str, Any], changed: dict[str, Any]
) -> None:
    refresh_token = client.grant()["refresh_token"]
    client.fault(f"/{EXCHANGE}", times=1, **settings)
    assert client.exchange("never-issued").status_code == 400  # a refusal does not use it up
    answer = client.exchange(refresh_token).json()
    assert {name: answer.get(name, "absent") for name in changed} == changed
    assert {"access_token", "token_type", "state", "refresh_token"} <= answer.keys() | changed.keys()
    assert client.exchange(answer["refresh_token"]).json()["state"] == ASKED["state"]


def test_keys_are_sent_twice_with_the_real_value_last(client: SandboxClient) -> None:
    client.fault("/user", duplicate=["iUserID"])
    answer = client.get("user", client.grant()["access_token"])
    assert answer.text.count('"iUserID"') == 2
    assert answer.json()["iUserID"] == 501


def test_the_redirect_back_to_the_application_is_changed(client: SandboxClient) -> None:
    change = {"state": None, "token_type": "mac", "refresh_token": ""}
    client.fault(f"/{CONNECT}", times=1, change=change, duplicate=["access_token"])
    assert client.get(CONNECT, params=ASKED).status_code == 200  # the page does not use it up
    changed = returned(client.decide())
    names = sorted(name for name, _ in changed)
    assert names == ["access_token", "access_token", "refresh_token", "token_type"]
    assert {("token_type", "mac"), ("refresh_token", "")} <= set(changed)
    assert ("state", ASKED["state"]) in returned(client.decide())


def test_a_fault_is_limited_to_a_company_a_token_a_path_and_a_number_of_times(client: SandboxClient) -> None:
    pat, alex = client.grant(501)["access_token"], client.grant(601)["access_token"]
    client.fault("/us*", status=502, company=7001, times=1)
    client.fault("/us*", status=418, token=pat)
    assert [client.get("user", alex).status_code for _ in range(2)] == [502, 200]
    assert [client.get("user", pat).status_code for _ in range(2)] == [418, 418]
    assert client.get("inspections", pat).status_code == 200
    client.control("DELETE", "faults")
    assert client.get("user", pat).status_code == 200

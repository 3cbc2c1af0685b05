"""Each fault does what was ordered, and only to the requests it was ordered for."""

import base64
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from integrations import sandbox

from .remote import ASKED, CONNECT, DEADLINE, EXCHANGE, REGISTERED, Remote, form, returned


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("status", {"status": 429, "headers": {"Retry-After": "7"}, "body": {"slow": "down"}}, b'{"slow": "down"}'),
        ("html", {}, b"<!doctype html>"),
        ("raw", {"body_base64": base64.b64encode(b"\xff\x00{").decode()}, b"\xff\x00{"),
        ("redirect", {"location": "http://127.0.0.1:9/elsewhere", "status": 307}, b""),
    ],
)
def test_an_answer_can_be_replaced_without_doing_the_work(
    remote: Remote, kind: str, settings: dict[str, Any], expected: bytes
) -> None:
    pair = remote.grant()
    remote.fault(f"/{EXCHANGE}", kind, times=1, **settings)
    answer = remote.exchange(pair["refresh_token"])
    assert answer.status_code == settings.get("status", 200)
    assert answer.content.startswith(expected)
    assert settings.get("headers", {}).items() <= dict(answer.headers).items()
    assert answer.headers.get("Location") == settings.get("location")
    assert remote.live() == set(pair.values())
    assert remote.exchange(pair["refresh_token"]).json()["token_type"] == "Bearer"


@pytest.mark.parametrize(("kind", "rotates"), [("close", False), ("lost_answer", True)])
def test_the_connection_can_close_without_an_answer_before_or_after_the_work(
    remote: Remote, kind: str, rotates: bool
) -> None:
    pair = remote.grant()
    remote.fault(f"/{EXCHANGE}", kind, times=1)
    with pytest.raises(requests.ConnectionError):
        remote.exchange(pair["refresh_token"])
    assert (remote.live() == set(pair.values())) is not rotates
    assert len(remote.live()) == 2


def test_a_fault_can_meet_a_share_of_the_requests_by_chance(remote: Remote) -> None:
    remote.fault("/user", "status", status=503, share=0.5)
    remote.fault("/assets", "status", status=503, share=0)
    token = remote.grant()["access_token"]
    assert {remote.get("user", token).status_code for _ in range(60)} == {200, 503}
    assert {remote.get("assets", token).status_code for _ in range(20)} == {200}


def test_a_500_can_come_after_the_work(remote: Remote) -> None:
    pair = remote.grant()
    remote.fault(f"/{EXCHANGE}", "unavailable_after_work", times=1)
    assert remote.exchange(pair["refresh_token"]).status_code == 500
    assert remote.live().isdisjoint(pair.values())


def test_a_cut_answer_is_shorter_than_it_says(remote: Remote) -> None:
    token = remote.grant()["access_token"]
    remote.fault("/user", "cut", times=1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        remote.get("user", token)


def test_a_bomb_is_small_on_the_wire_and_large_when_opened(remote: Remote) -> None:
    remote.fault("/user", "bomb", megabytes=3)
    with remote.get("user", stream=True) as answer:
        packed = answer.raw.read(decode_content=False)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 10_000
    assert len(zlib.decompress(packed, zlib.MAX_WBITS | 16)) > 3_000_000


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_drip_brings_the_whole_answer_byte_by_byte_until_it_is_cleared(remote: Remote, where: str) -> None:
    token = remote.grant()["access_token"]
    remote.fault("/user", "drip", where=where, interval=0.001)
    assert remote.get("user", token).json()["iUserID"] == 501
    remote.control("DELETE", "faults")
    remote.fault("/user", "drip", where=where, interval=3600)
    assert released(remote, token).json()["iUserID"] == 501


@pytest.mark.parametrize("kind", ["hang", "delay"])
def test_a_waiting_request_goes_on_when_the_fault_is_cleared(remote: Remote, kind: str) -> None:
    remote.fault("/user", kind, seconds=3600)
    assert released(remote, remote.grant()["access_token"]).json()["iUserID"] == 501


def released(remote: Remote, token: str) -> requests.Response:
    """The answer to a request that would wait for ever but for the clearing of all faults."""
    last = remote.control("GET", "log", after=10**9)["last"]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(remote.get, "user", token)
        assert remote.control("GET", "log", after=last, path="/user", wait=DEADLINE)["requests"]
        assert not answer.done()
        remote.control("DELETE", "faults")
        return answer.result(DEADLINE)


@pytest.mark.parametrize(("work", "rotates"), [(False, False), (True, True)])
def test_a_hanging_exchange_is_only_done_behind_the_back_of_a_client_that_left_when_so_ordered(
    tmp_path: Path, work: bool, rotates: bool
) -> None:
    state_file = str(tmp_path / "state.sqlite3")
    with sandbox.serve(**REGISTERED, state_file=state_file) as server:
        remote = Remote(server.url)
        with remote.http:
            pair = remote.grant()
            remote.fault(f"/{EXCHANGE}", "hang", work=work)
            body = requests.Request("POST", server.url + EXCHANGE, data=form(pair["refresh_token"])).prepare().body
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                head = f"POST /{EXCHANGE} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(str(body))}\r\n"
                head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
                client.sendall(f"{head}{body!s}".encode())
                assert remote.control("GET", "log", path=f"/{EXCHANGE}", wait=DEADLINE)["requests"]
    # Stopping waited for the request, so what it did is final.
    with sandbox.serve(**REGISTERED, state_file=state_file) as server:
        remote = Remote(server.url)
        with remote.http:
            assert (remote.live() != set(pair.values())) is rotates


@pytest.mark.parametrize(
    ("kind", "settings", "changed"),
    [
        ("null_token", {}, {"access_token": None}),
        ("missing_token", {}, {"access_token": "absent"}),
        ("missing_refresh", {}, {"refresh_token": "absent"}),
        ("wrong_state", {}, {"state": "not-the-state-that-was-sent"}),
        ("wrong_type", {}, {"token_type": "mac"}),
        ("extra_fields", {"fields": {"expires_in": ""}}, {"expires_in": ""}),
    ],
)
def test_a_good_exchange_can_get_an_odd_answer(
    remote: Remote, kind: str, settings: dict[str, Any], changed: dict[str, Any]
) -> None:
    refresh_token = remote.grant()["refresh_token"]
    fault = remote.fault(f"/{EXCHANGE}", kind, **settings)
    assert remote.exchange("never-minted").status_code == 400  # a refusal does not use it up
    answer = remote.exchange(refresh_token).json()
    assert {name: answer.get(name, "absent") for name in changed} == changed
    assert {"access_token", "token_type", "state", "refresh_token"} <= answer.keys() | changed.keys()
    assert [(order["id"], order["hits"]) for order in remote.control("GET", "faults")] == [(fault, 1)]


def test_keys_can_come_twice_with_the_real_value_last(remote: Remote) -> None:
    remote.fault("/user", "duplicate_keys")
    answer = remote.get("user", remote.grant()["access_token"])
    assert answer.text.count('"iUserID"') == 2
    assert answer.json()["iUserID"] == 501


def test_tokens_can_be_long(remote: Remote) -> None:
    for path in (CONNECT, EXCHANGE):
        remote.fault(f"/{path}", "long_tokens", length=3500)
    given = dict(returned(remote.decide()))
    assert len(given["access_token"]) == len(given["refresh_token"]) == 3500
    assert remote.get("user", given["access_token"]).status_code == 200
    assert len(remote.exchange(given["refresh_token"]).json()["access_token"]) == 3500


def test_the_return_from_consent_can_be_altered(remote: Remote) -> None:
    remote.fault(
        f"/{CONNECT}",
        "return",
        times=1,
        override={"state": None, "token_type": "mac", "refresh_token": ""},
        duplicate=["access_token"],
    )
    assert remote.get(CONNECT, params=ASKED).status_code == 200  # the page does not use it up
    altered = returned(remote.decide())
    names = sorted(name for name, _ in altered)
    assert names == ["access_token", "access_token", "refresh_token", "token_type"]
    assert {("token_type", "mac"), ("refresh_token", "")} <= set(altered)
    assert ("state", ASKED["state"]) in returned(remote.decide())


def test_a_fault_can_be_limited_to_a_method_a_company_a_token_a_prefix_and_a_number_of_times(remote: Remote) -> None:
    pat, alex = remote.grant(501)["access_token"], remote.grant(601)["access_token"]
    statuses: dict[str, dict[str, Any]] = {
        "503": {"method": "POST"},
        "502": {"company": 7001, "times": 1},
        "418": {"token": pat},
    }
    for status, limits in statuses.items():
        remote.fault("/us*", "status", status=int(status), **limits)
    assert [remote.get("user", alex).status_code for _ in range(2)] == [502, 200]
    assert [remote.get("user", pat).status_code for _ in range(2)] == [418, 418]
    assert remote.get("assets", pat).status_code == 200
    assert [order["hits"] for order in remote.control("GET", "faults")] == [0, 1, 2]
    remote.control("DELETE", f"faults/{remote.control('GET', 'faults')[2]['id']}")
    assert remote.get("user", pat).status_code == 200


def test_paging_can_be_made_endless(remote: Remote) -> None:
    token = remote.grant(501)["access_token"]
    for number in range(25):
        remote.control("POST", "inspections", company=6847, title=f"No. {number}")
    remote.fault("/inspections", "endless_paging")
    following, addresses = f"{remote.url}inspections?since=0", []
    for _ in range(5):
        page = remote.get(following.removeprefix(remote.url), token).json()
        assert page["inspections"]
        following = page["next"]
        addresses.append(following)
    assert addresses[0] == addresses[2] == addresses[4] != addresses[1] == addresses[3]
    # One record is no list: it stays as it is, and uses nothing up.
    remote.fault("/inspections/*", "endless_paging", times=1)
    assert "next" not in remote.get("inspections/1388561", token).json()
    assert remote.control("GET", "faults")[1]["hits"] == 0

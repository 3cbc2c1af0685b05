"""Calls of the API: what is tried again, what is not, and for how long."""

import datetime
import time
from collections.abc import Callable
from email.utils import format_datetime

import pytest

from integrations.snapinspect.client import MAX_TRIES, Client
from integrations.snapinspect.errors import Garbled, Refused, SnapInspectError, TokenRefused, Unreachable
from integrations.snapinspect.transport import Transport

from .remotes import ACCESS, Answering, Call, Wire, http, remote

STATUSES = [
    (400, Refused, "refused"),
    (401, TokenRefused, "token_refused"),
    (403, Refused, "forbidden"),
    (404, Refused, "not_found"),
    (410, Refused, "refused"),
    (304, Refused, "redirect"),
    (600, Garbled, "wrong_shape"),
]


def flapping(*answers: bytes) -> Answering:
    """Gives these answers in turn, and the last one for ever."""
    waiting = list(answers)
    return lambda call, wire: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def test_a_call_is_signed_and_asks_for_json(client_of: Callable[..., Client]) -> None:
    with remote(http({"iCompanyID": 6847, "sName": "Ann"})) as server:
        user = client_of(server).user()
        assert (user.company_id, user.name) == ("6847", "Ann")
        call = server.calls[0]
    assert (call.method, call.target, call.body) == ("GET", "/user", b"")
    assert call.headers["authorization"] == f"Bearer {ACCESS}"
    assert call.headers["accept"] == "application/json"


@pytest.mark.parametrize(("status", "error", "kind"), STATUSES)
def test_R13_a_plain_no_is_final(
    status: int, error: type[SnapInspectError], kind: str, client_of: Callable[..., Client]
) -> None:
    with remote(http({"message": f"no {ACCESS}"}, status=status)) as server:
        with pytest.raises(error) as caught:
            client_of(server).get("user")
        assert len(server.calls) == 1
    assert (caught.value.kind, caught.value.status) == (kind, status)
    assert ACCESS not in repr(caught.value) and caught.value.__context__ is None


def test_R13_a_401_stays_a_401_when_its_body_is_cut(client_of: Callable[..., Client]) -> None:
    def cut(call: Call, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 500\r\n\r\n<html>")

    with remote(cut) as server, pytest.raises(TokenRefused):
        client_of(server).get("user")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_A7_an_outage_is_tried_again_until_it_is_over(status: int, client_of: Callable[..., Client]) -> None:
    bad = http("<html>", status=status)
    with remote(flapping(bad, bad, http({"a": 1}))) as server:
        assert client_of(server).get("user").json == {"a": 1}
        assert len(server.calls) == 3


def test_A7_a_lasting_outage_is_given_up_after_four_tries(client_of: Callable[..., Client]) -> None:
    with remote(http("", status=503)) as server:
        with pytest.raises(Unreachable) as caught:
            client_of(server).get("user")
        assert len(server.calls) == MAX_TRIES == 4
    assert (caught.value.kind, caught.value.status) == ("server_error", 503)
    assert caught.value.__context__ is None


def test_A7_a_connection_that_broke_is_tried_again(client_of: Callable[..., Client]) -> None:
    def answer(call: Call, wire: Wire) -> bytes | None:
        return http({"a": 1}) if len(server.calls) > 1 else None

    with remote(answer) as server:
        assert client_of(server).get("user").json == {"a": 1}


def test_A6_retry_after_in_seconds_is_waited_for(client_of: Callable[..., Client]) -> None:
    busy = http("", status=429, headers={"Retry-After": "1"})
    with remote(flapping(busy, http({"a": 1}))) as server:
        started = time.monotonic()
        assert client_of(server).get("user").json == {"a": 1}
        assert time.monotonic() - started >= 1


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("60", 60, 60),
        ("86400", 900, 900),
        ("9" * 90, 900, 900),
        ("60.5", 60.5, 60.5),
        ("60 s", 60, 60),
        ("60, 120", 60, 60),
        ("in two minutes", 100, 120),
        ("in one day", 900, 900),
    ],
)
def test_A6_a_retry_after_beyond_the_deadline_ends_the_call_and_is_told(
    header: str, least: float, most: float, client_of: Callable[..., Client]
) -> None:
    ahead = {"in two minutes": 120, "in one day": 86400}.get(header)
    if ahead:
        moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ahead)
        header = format_datetime(moment, usegmt=True)
    with remote(http("", status=503, headers={"Retry-After": header})) as server:
        with pytest.raises(Unreachable) as caught:
            client_of(server).get("user")
        assert len(server.calls) == 1
    assert caught.value.retry_after is not None and least <= caught.value.retry_after <= most


@pytest.mark.parametrize(
    "header", ["soon", "-5", "1e3", "", "٣", "Mon, 99 Foo 2026", "Thu, 01 Jan 1970 00:00:00 GMT", "9" * 200]
)
def test_A6_a_rubbish_or_past_retry_after_is_ignored(header: str, client_of: Callable[..., Client]) -> None:
    busy = http("", status=429, headers={"Retry-After": header})
    with remote(flapping(busy, http({"a": 1}))) as server:
        assert client_of(server).get("user").json == {"a": 1}


def test_A7_retries_end_at_the_total_deadline(client_of: Callable[..., Client]) -> None:
    def answer(call: Call, wire: Wire) -> bytes | None:
        if len(server.calls) == 1:
            return http("", status=500)
        wire.hang()
        return None

    with remote(answer) as server:
        started = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            client_of(server, deadline=2.0).get("user")
        assert len(server.calls) <= 2
    assert caught.value.kind == "timeout" and time.monotonic() - started < 30


def test_an_environment_variable_does_not_open_plain_http(
    monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with remote(http({})) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "snapinspect.example")):
            with pytest.raises(SnapInspectError) as caught:
                Client(url, token=ACCESS, over=transport)
            assert caught.value.kind == "insecure"
        assert server.connections == 0

"""Answers of a SnapInspect that lies: about lengths, ends, statuses and headers. Nobody else's call notices."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.api.problems import ERROR
from integrations.calls import api_client
from integrations.models import Connection
from integrations.snapinspect.client import LONGEST_REPORT
from tests.api.conftest import ApiClient, Keys
from tests.settings import SENTINEL
from tests.snapinspect.remotes import Call, Remote, Wire, http, remote
from tests.support.clients import Sandbox, quick_connect

pytestmark = pytest.mark.django_db(transaction=True)

LONG = 300_000
# What a server may send behind an answer, to be taken for the answer to somebody else.
POISON = http(b"poison")
Answers = Callable[[Call, Wire], bytes | None]


@pytest.fixture
def connection(sandbox: Sandbox, alice: User, acme: Customer) -> Connection:
    return quick_connect(acme, sandbox, by=alice)


@pytest.fixture
def client(api: Keys) -> ApiClient:
    return api()


@pytest.fixture
def call(client: ApiClient, connection: Connection, settings: Settings) -> Callable[..., Any]:
    """Calls a SnapInspect that gives this answer at `x`, and a decent one everywhere else."""

    @contextmanager
    def serving(answer: Answers | bytes) -> Iterator[Remote]:
        def answers(call: Call, wire: Wire) -> bytes | None:
            if call.target != "/x":
                return http(b"decent")
            return answer if isinstance(answer, bytes) else answer(call, wire)

        with remote(answers) as server:
            settings.SNAPINSPECT_API_URL = server.url
            yield server

    def ask(answer: Answers | bytes, method: str = "GET") -> Any:
        with serving(answer) as server:
            got: Any = client.generic(method, f"/api/v1/connections/{connection.code}/proxy/x")
            if got.streaming:
                got.read = read(got)
            following = client.get(f"/api/v1/connections/{connection.code}/proxy/y")
            assert (following.status_code, following.content) == (200, b"decent")
            got.calls = server.calls
        return got

    return ask


def read(answer: Any) -> tuple[bytes, bool]:
    """The body that came, and whether it came to its end."""
    body, ended = b"", False
    try:
        for piece in answer.streaming_content:
            assert len(piece) <= 2 * LONGEST_REPORT
            body += piece
        ended = True
    except ConnectionResetError as problem:
        assert SENTINEL not in repr(problem)
    answer.close()
    return body, ended


def token_of(call: Call) -> bytes:
    return call.headers["authorization"].removeprefix("Bearer ").encode()


def chunked(*chunks: bytes, headers: bytes = b"Content-Type: text/plain\r\n", end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + headers + b"\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@pytest.mark.parametrize("spelling", ["plain", "percent", "json"])
def test_a_token_is_taken_out_of_a_long_answer_wherever_it_stands(call: Any, spelling: str) -> None:
    spell: Callable[[bytes], bytes] = {
        "plain": bytes,
        "percent": lambda token: b"".join(b"%%%02X" % byte for byte in token),
        "json": lambda token: b"".join(b"\\u%04x" % byte for byte in token),
    }[spelling]

    def answer(request: Call, wire: Wire) -> None:
        token = spell(token_of(request))
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n")
        # Cut at each of its bytes, and at the bounds of pieces.
        for cut in range(len(token)):
            filling = b"." * (LONG // len(token))
            for piece in (filling, token[:cut], token[cut:]):
                if piece:
                    wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.send(b"0\r\n\r\n")

    body, ended = call(answer).read
    assert ended
    assert SENTINEL.encode() not in body
    assert set(body.replace(b"[token]", b"")) == {ord(".")}
    assert body.count(b"[token]") > 30


def test_a_long_binary_answer_comes_back_as_it_is_but_for_tokens(call: Any) -> None:
    filling = bytes(range(256)) * 1000

    def answer(request: Call, wire: Wire) -> bytes:
        return http(filling + token_of(request) + filling, headers={"Content-Type": "image/png"})

    got = call(answer)
    assert got.read == (filling + b"[token]" + filling, True)
    assert "Content-Length" not in got


@pytest.mark.parametrize("size", [10, LONG])
def test_an_answer_that_is_shorter_than_it_says_is_no_answer(call: Any, size: int) -> None:
    def answer(request: Call, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size + 1, b"a" * size))

    for method, sent in (("GET", 2 if size == 10 else 1), ("POST", 1)):
        got = call(answer, method)
        if size == LONG:
            body, ended = got.read
            assert (got.status_code, ended) == (200, False)
            assert 0 < len(body) <= LONG
        else:
            assert (got.status_code, got[ERROR]) == (502, "cut")
        assert len([seen for seen in got.calls if seen.target == "/x"]) == sent


@pytest.mark.parametrize(
    ("lie", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 65\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
        (chunked(b"ok"), 200, b"ok"),
    ],
)
def test_what_comes_with_an_answer_is_nobodys_answer(call: Any, lie: bytes, status: int, body: bytes) -> None:
    got = call(lambda request, wire: lie + POISON)
    assert (got.status_code, got.content) == (status, body)


@pytest.mark.parametrize("lie", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"])
@pytest.mark.parametrize("pause", [0.0, 0.01, 0.1])
def test_nor_is_what_comes_late_behind_one_that_has_no_body(call: Any, lie: bytes, pause: float) -> None:
    def answer(request: Call, wire: Wire) -> bytes:
        wire.send(lie)
        wire.over.wait(pause)
        return POISON

    assert call(answer).content == b""


def test_a_HEAD_with_a_body_is_nobodys_answer_either(call: Any) -> None:
    got = call(lambda request, wire: http(b"x" * 20) + POISON, "HEAD")
    assert (got.status_code, got.content) == (200, b"")


@pytest.mark.parametrize("framing", ["chunks", "none", "gzip"])
def test_an_endless_answer_is_cut_off(call: Any, framing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "FORWARD_ANSWER_BYTES", 2_000_000)
    stopped = threading.Event()
    # 20 MB from 20 kB
    piece = gzip.compress(b"a" * 20_000_000) if framing == "gzip" else b"a" * 50_000

    def answer(request: Call, wire: Wire) -> None:
        headers = {"chunks": b"Transfer-Encoding: chunked\r\n", "none": b"", "gzip": b"Content-Encoding: gzip\r\n"}
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + headers[framing] + b"\r\n")
        try:
            for _ in range(1000):
                wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunks" else piece)
        except OSError:
            stopped.set()

    body, ended = call(answer).read
    assert not ended
    assert len(body) <= 2_200_000
    assert set(body) == {ord("a")}
    assert stopped.wait(60)


def test_an_answer_that_says_it_is_too_long_is_not_begun(call: Any) -> None:
    length = api_client.FORWARD_ANSWER_BYTES + 1
    got = call(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
    assert (got.status_code, got[ERROR]) == (502, "too_large")


def test_a_slow_answer_ends_at_the_deadline(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "FORWARD_SECONDS", 2.0)

    def answer(request: Call, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"a" * LONG)
        wire.drip(b"a", every=0.02)

    body, ended = call(answer).read
    assert (len(body) >= LONG - LONGEST_REPORT, ended) == (True, False)


@pytest.mark.parametrize(
    ("interim", "status"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n", 200),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nX-Interim: 1\r\n\r\n" * 3, 200),
        (b"HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n", 200),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100_000, 504),
    ],
)
def test_interim_answers_are_passed_over(
    call: Any, interim: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if status == 504:
        monkeypatch.setattr(api_client, "FORWARD_SECONDS", 1.0)

    def answer(request: Call, wire: Wire) -> None:
        wire.send(interim)
        if status == 504:
            wire.drip(b"HTTP/1.1 103 Early Hints\r\n\r\n", every=0.001)
        wire.send(http(b"final"))

    got = call(answer)
    assert got.status_code == status
    assert "X-Interim" not in got
    if status == 200:
        assert got.content == b"final"


def test_headers_about_the_transfer_and_for_the_origin_stay_here(call: Any) -> None:
    def answer(request: Call, wire: Wire) -> bytes:
        token = token_of(request)
        headers = [
            b"Connection: close, X-Hop",
            b"X-Hop: 1",
            b"Keep-Alive: timeout=5",
            b"Trailer: X-Late, Connect-Error",
            b"Upgrade: h2c",
            b"NEL: {}",
            b"Report-To: {}",
            b"Access-Control-Allow-Origin: *",
            b"Refresh: 0;url=https://elsewhere.example/",
            b"Proxy-Authenticate: Basic",
            b"Set-Cookie: sessionid=theirs",
            b"Set-Cookie2: a=b",
            b"Location: https://elsewhere.example/?access_token=" + token,
            b"X-Escaped: " + b"".join(b"%%%02x" % byte for byte in token),
            b"Link: <https://elsewhere.example/>;\r\n rel=next",
            b"X-Odd\x01Name: 1",
            b"X-Odd: a\x00b",
            b"Content-Type: text/plain",
        ]
        late = b"0\r\nX-Late: " + token + b"\r\nConnect-Error: theirs\r\nSet-Cookie: c=d\r\n\r\n"
        return chunked(b"ok", headers=b"\r\n".join(headers) + b"\r\n", end=late).replace(b"200 OK", b"302 Found", 1)

    got = call(answer)
    assert (got.status_code, got.content) == (302, b"ok")
    assert got["Location"] == "https://elsewhere.example/?access_token=[token]"
    assert got["X-Escaped"] == "[token]"
    kept = {name.lower() for name in got.headers}
    assert not kept & {
        *("x-hop", "keep-alive", "trailer", "upgrade", "proxy-authenticate", "set-cookie2", "x-late"),
        *("transfer-encoding", "connect-error", "x-odd", "nel", "report-to", "access-control-allow-origin", "refresh"),
    }
    assert not got.cookies
    assert all("\r" not in value and "\n" not in value for value in got.headers.values())
    assert SENTINEL not in str(got.headers)
    assert [seen.target for seen in got.calls] == ["/x", "/y"], "the redirect is not followed"


@pytest.mark.parametrize(
    "coding",
    [b"Content-Encoding: br", b"Content-Encoding: gzip, x-own", b"Content-Encoding: compress",
     b"Transfer-Encoding: gzip, chunked"],
)  # fmt: skip
def test_a_body_in_which_no_token_could_be_seen_is_no_answer(call: Any, coding: bytes) -> None:
    got = call(b"HTTP/1.1 200 OK\r\n" + coding + b"\r\nConnection: close\r\n\r\nabc")
    assert (got.status_code, got[ERROR]) == (502, "not_text")


@pytest.mark.parametrize("length", ["-5", "+2", "x", "2\r\nContent-Length: 2", "\u00b2"])
def test_a_length_that_is_none_does_not_come_with_a_HEAD(call: Any, length: str) -> None:
    got = call(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode(), "HEAD")
    assert got.status_code == 502 or got["Content-Length"] == "0"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n",
    ],
)
def test_what_is_not_http_is_no_answer(call: Any, raw: bytes) -> None:
    def answer(request: Call, wire: Wire) -> None:
        wire.send(raw)

    got = call(answer)
    assert got.status_code == 502, got.content
    assert got["Content-Type"] == "application/problem+json"
    assert ERROR in got

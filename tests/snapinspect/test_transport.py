"""The one way out, against servers that misbehave."""

import gzip
import os
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from requests import PreparedRequest, Request

from integrations.snapinspect import transport as transport_module
from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import BadPath, Garbled, Refused, SnapInspectError, Unreachable
from integrations.snapinspect.transport import Transport

from .remotes import ACCESS, Authority, Call, Remote, Wire, http, remote

# What a test waits at most when a deadline fails to fire; generous, since the machine may be busy.
FAR_TOO_LONG = 30.0
# Long enough for a busy machine to send the request.
DEADLINE = 1.0


def request(server: Remote) -> PreparedRequest:
    return Request("GET", server.url + "/user", headers={"Authorization": f"Bearer {ACCESS}"}).prepare()


def failure(call: Callable[[], object]) -> tuple[SnapInspectError, float]:
    """The error of a call, and how many seconds it took."""
    started = time.monotonic()
    with pytest.raises(SnapInspectError) as caught:
        call()
    assert caught.value.__context__ is None, "an error's context quotes requests and answers"
    return caught.value, time.monotonic() - started


def drip_everything(call: Call, wire: Wire) -> None:
    wire.drip(b"H", every=0.05)


def drip_status_lines(call: Call, wire: Wire) -> None:
    wire.drip(b"HTTP/1.1 100 Continue\r\n\r\n", every=0.01)


def drip_headers(call: Call, wire: Wire) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\n")
    wire.drip(b"X-Slow: 1\r\n", every=0.05)


def drip_body(call: Call, wire: Wire) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    wire.drip(b" ", every=0.05)


def drip_chunks(call: Call, wire: Wire) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.drip(b"1\r\n \r\n", every=0.05)


def drip_empty_gzip(call: Call, wire: Wire) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
    wire.drip(gzip.compress(b""), every=0.01)


def say_nothing(call: Call, wire: Wire) -> None:
    wire.hang()


@pytest.mark.parametrize(
    "answer",
    [
        drip_everything,
        drip_status_lines,
        drip_headers,
        drip_body,
        drip_chunks,
        drip_empty_gzip,
        say_nothing,
    ],
)
def test_A1_a_dripping_server_is_given_up_at_the_total_deadline(
    answer: Callable[[Call, Wire], None], client_of: Callable[..., Client]
) -> None:
    with remote(answer) as server:
        error, seconds = failure(lambda: client_of(server, deadline=DEADLINE).get("user"))
    assert isinstance(error, Unreachable) and error.kind == "timeout" and error.sent
    assert 0.9 * DEADLINE < seconds < FAR_TOO_LONG


def test_A1_the_deadline_covers_the_body_over_tls_too(authority: Authority) -> None:
    transport = Transport(ca_file=str(authority.path))
    with remote(drip_body, tls=authority.server()) as server:
        reply = transport.send(request(server), deadline=DEADLINE)
    assert isinstance(reply.failure, Unreachable) and reply.failure.kind == "timeout"
    assert 0.9 * DEADLINE < reply.seconds < FAR_TOO_LONG
    transport.close()


def test_A1_a_server_that_accepts_but_never_shakes_hands_is_given_up_unsent(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        error, seconds = failure(lambda: transport.send(Request("GET", url).prepare(), deadline=0.4))
    assert isinstance(error, Unreachable) and (error.kind, error.sent) == ("timeout", False)
    assert seconds < FAR_TOO_LONG


def test_A1_a_name_server_that_hangs_is_given_up_unsent(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answer.wait(60) and [])
    query = Request("GET", "https://api.example/").prepare()
    error, seconds = failure(lambda: transport.send(query, deadline=0.4))
    answer.set()
    assert isinstance(error, Unreachable) and (error.kind, error.sent) == ("dns", False)
    assert seconds < FAR_TOO_LONG


def test_what_was_certainly_not_sent_is_told_apart(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for url, kind in [(f"http://127.0.0.1:{port}/", "connect"), ("http://no-such-host.invalid/", "dns")]:
        query = Request("GET", url).prepare()
        error, _ = failure(lambda query=query: transport.send(query, deadline=FAR_TOO_LONG))  # type: ignore[misc]
        assert isinstance(error, Unreachable) and (error.kind, error.sent) == (kind, False)


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_an_answer_that_is_no_http_is_a_cut_and_counts_as_sent(data: bytes, transport: Transport) -> None:
    def hang_up(call: Call, wire: Wire) -> None:
        wire.send(data)

    with remote(hang_up) as server:
        error, _ = failure(lambda: transport.send(request(server), deadline=FAR_TOO_LONG))
    assert isinstance(error, Unreachable) and (error.kind, error.sent) == ("cut", True)


def test_an_answer_that_ends_within_its_headers_is_a_cut(transport: Transport) -> None:
    def hang_up(call: Call, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-")

    with remote(hang_up) as server:
        reply = transport.send(request(server), deadline=FAR_TOO_LONG)
    assert isinstance(reply.failure, Unreachable) and reply.failure.kind == "cut"


def test_a_cut_body_is_told_and_what_came_before_is_kept(transport: Transport) -> None:
    def cut(call: Call, wire: Wire) -> None:
        wire.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a": 1}')

    with remote(cut) as server:
        reply = transport.send(request(server), deadline=FAR_TOO_LONG)
    assert reply.body == b'{"a": 1}'
    assert isinstance(reply.failure, Unreachable) and reply.failure.kind == "cut"


@pytest.mark.parametrize("layers", ["gzip", "gzip, gzip", "deflate"])
def test_A2_a_bomb_is_stopped_at_the_cap_without_filling_the_memory(
    layers: str, client_of: Callable[..., Client]
) -> None:
    bomb = gzip.compress(b" " * 100_000_000, 9) if "gzip" in layers else zlib.compress(b" " * 100_000_000)
    bomb = gzip.compress(bomb) if "," in layers else bomb
    assert len(bomb) < 100_000
    with remote(http(bomb, headers={"Content-Encoding": layers})) as server:
        tracemalloc.start()
        error, _ = failure(lambda: client_of(server, deadline=60).get("user"))
        grown = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert isinstance(error, Garbled) and error.kind == "too_large"
    assert grown < 50_000_000


def test_A2_an_endless_body_is_stopped_at_the_cap(transport: Transport) -> None:
    def endless(call: Call, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not wire.over.is_set():
            wire.send(b" " * 65536)

    with remote(endless) as server:
        reply = transport.send(request(server), deadline=60, max_bytes=1_000_000)
    assert isinstance(reply.failure, Garbled) and len(reply.body) < 1_100_000


def broken_tls(authority: Authority, fault: str) -> ssl.SSLContext:
    if fault == "self-signed":
        return authority.server(self_signed=True)
    if fault == "wrong name":
        return authority.server(host="other.example")
    if fault == "expired":
        return authority.server(days=-1)
    context = authority.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    version = {"TLS 1.0": ssl.TLSVersion.TLSv1, "TLS 1.1": ssl.TLSVersion.TLSv1_1}[fault]
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("fault", ["self-signed", "wrong name", "expired", "TLS 1.0", "TLS 1.1"])
def test_A4_a_server_that_cannot_prove_itself_gets_no_byte_of_the_token(fault: str, authority: Authority) -> None:
    transport = Transport(ca_file=str(authority.path))
    with remote(http({}), tls=broken_tls(authority, fault)) as server:
        client = Client(server.url, token=ACCESS, over=transport)
        error, _ = failure(lambda: client.get("user"))
        assert server.calls == [] and server.connections == 1, "refused, and not tried again"
    assert isinstance(error, Unreachable) and (error.kind, error.sent) == ("tls", False)


def test_A4_a_server_of_an_authority_nobody_trusts_is_refused(authority: Authority, transport: Transport) -> None:
    with remote(http({}), tls=authority.server()) as server:
        error, _ = failure(lambda: transport.send(request(server), deadline=FAR_TOO_LONG))
        assert server.calls == []
    assert isinstance(error, Unreachable) and error.kind == "tls"


def test_A4_a_good_certificate_is_accepted_and_tls_keys_go_to_no_file(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    transport = Transport(ca_file=str(authority.path))
    with remote(http({"a": 1}), tls=authority.server()) as server:
        assert Client(server.url, token=ACCESS, over=transport).get("user").json == {"a": 1}
    assert not (tmp_path / "keys").exists()
    transport.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_A5_a_redirect_is_not_followed(status: int, client_of: Callable[..., Client]) -> None:
    with remote(http({})) as elsewhere:
        moved = http({}, status=status, headers={"Location": elsewhere.url + "/user"})
        with remote(moved) as server:
            error, _ = failure(lambda: client_of(server).get("user"))
            assert len(server.calls) == 1
        assert elsewhere.connections == 0
    assert isinstance(error, Refused) and (error.kind, error.status) == ("redirect", status)


def test_A9_proxies_and_passwords_of_the_environment_are_ignored(
    client_of: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with remote(http({})) as proxy, remote(http({})) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        client_of(server).get("user")
        assert proxy.connections == 0
        assert server.calls[0].headers["authorization"] == f"Bearer {ACCESS}"


def test_connections_are_kept_and_shared_by_all_customers(client_of: Callable[..., Client]) -> None:
    with remote(http({})) as server:
        for number in range(20):
            client_of(server, token=f"token-{number}").get("user")
        assert server.connections == 1
        sent = [call.headers["authorization"] for call in server.calls]
    assert sent == [f"Bearer token-{number}" for number in range(20)]


def test_M2_threads_never_mix_up_tokens_and_answers(transport: Transport) -> None:
    def who(call: Call, wire: Wire) -> bytes:
        return http({"name": call.headers["authorization"]})

    wrong: list[object] = []

    def work(number: int) -> None:
        client = Client(server.url, token=f"t{number}", allow_loopback_http=True, over=transport)
        for _ in range(25):
            # The token itself is hidden in answers, so its absence shows that it was the right one.
            name = client.user().name
            if name != "Bearer [token]":
                wrong.append(name)

    with remote(who) as server:
        threads = [threading.Thread(target=work, args=(10 + number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == [] and len(server.calls) == 400
        assert server.connections <= 16


def test_a_cookie_of_one_customer_never_travels_with_anothers_call(client_of: Callable[..., Client]) -> None:
    with remote(http({}, headers={"Set-Cookie": "session=of-customer-one; Path=/"})) as server:
        client_of(server, token="one").get("user")
        client_of(server, token="one").get("user")
        client_of(server, token="two").get("user")
        assert all("cookie" not in call.headers for call in server.calls)


@pytest.mark.parametrize("fault", ["cut", "too large", "timeout"])
def test_a_connection_with_a_rest_on_it_is_never_used_again(fault: str, transport: Transport) -> None:
    def answer(call: Call, wire: Wire) -> bytes | None:
        if len(server.calls) > 1:
            return http({"a": 1})
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1000)
        if fault != "cut":
            wire.hang()
        return None

    with remote(answer) as server:
        first = transport.send(
            request(server),
            deadline=DEADLINE if fault == "timeout" else 30,
            max_bytes=500 if fault == "too large" else 10_000,
        )
        assert first.failure is not None and first.failure.kind == fault.replace(" ", "_")
        assert transport.send(request(server), deadline=FAR_TOO_LONG).body == b'{"a": 1}'
        assert server.connections == 2


def test_a_fresh_connection_is_opened_and_closed_for_one_request(transport: Transport) -> None:
    with remote(http({})) as server:
        for fresh in (False, True, False, True):
            transport.send(request(server), deadline=FAR_TOO_LONG, fresh=fresh)
        assert server.connections == 3


def test_a_url_that_is_not_http_is_refused(transport: Transport) -> None:
    query = PreparedRequest()
    query.prepare("GET", "ftp://127.0.0.1/")
    with pytest.raises(BadPath):
        transport.send(query, deadline=1)


def test_each_process_has_a_transport_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = transport_module.shared()
    assert transport_module.shared() is mine
    monkeypatch.setattr(os, "getpid", lambda: -1)  # what a forked child sees: another id, the same memory
    other = transport_module.shared()
    assert other is not mine and transport_module.shared() is other
    mine.close()
    other.close()

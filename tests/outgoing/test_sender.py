"""One POST to an address that somebody entered: what is reached, what never is, and how long and how much is read."""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from integrations.outgoing import sender
from integrations.outgoing.sender import NotSent, check_address, send
from integrations.snapinspect.transport import Transport
from tests.snapinspect.remotes import Authority, Call, Remote, Wire, http, remote

HEADERS = {"Content-Type": "application/json", "webhook-id": "msg_1"}
NAME = "endpoint.example"


@pytest.fixture(autouse=True)
def production(settings: Settings) -> None:
    settings.ALLOW_INSECURE_LOOPBACK = False


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that something tried to connect to; nothing gets there."""
    tried: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    return tried


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Makes names resolve to these addresses, one answer for each question; returns the list of questions."""
    genuine = socket.getaddrinfo

    def script(*answers: list[str]) -> list[str]:
        asked: list[str] = []

        def answer(host: str, port: int, **kwargs: Any) -> list[Any]:
            asked.append(host)
            addresses = answers[min(len(asked), len(answers)) - 1]
            return [one for address in addresses for one in genuine(address, port, **kwargs)]

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        return asked

    return script


@pytest.mark.parametrize(
    "url",
    [
        # This machine, spelled in the ways that resolvers accept.
        "https://127.0.0.1/",
        "https://localhost/",
        "https://localhost./",
        "https://LOCALHOST/",
        "https://127.1/",
        "https://127.0.1/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://0x7f000001/",
        "https://0x7f.0.0.0x1/",
        "https://0/",
        "https://0.0.0.0/",
        "https://127.255.255.254/",
        "https://[::1]/",
        "https://[::]/",
        "https://[0:0:0:0:0:0:0:1]/",
        # IPv4 inside IPv6: mapped, compatible, NAT64, 6to4, Teredo.
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::169.254.169.254]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:0:7f00:1::]/",
        # Neighbours, metadata services, what is reserved.
        "https://169.254.169.254/latest/meta-data/",
        "https://2852039166/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://192.0.0.192/",
        "https://192.88.99.1/",
        "https://198.18.0.1/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1]/",
        "https://[fec0::1]/",
        "https://[ff02::1]/",
        # URLs that parsers read differently, and what is no https URL to a name.
        "https://user:password@8.8.8.8/",
        "https://8.8.8.8@127.0.0.1/",
        "https://127.0.0.1#@8.8.8.8/",
        "https://8.8.8.8\\@127.0.0.1/",
        "https://127.0.0.1%2f@8.8.8.8/",
        "https://127.0.0.1%00.example/",
        "https://[fe80::1%25eth0]/",
        "https://①②⑦.⓪.⓪.①/",
        "https://127。0。0。1/",
        "https:127.0.0.1/",
        "https:///127.0.0.1/",
        "//127.0.0.1/",
        "http://127.0.0.1/",
        "http://8.8.8.8/",
        "gopher://127.0.0.1/",
        "file:///etc/passwd",
        "https://8.8.8.8 /",
        "https://8.8.8.8\n.example/",
        "https://8.8.8.8:22/",
        "https://8.8.8.8:25/",
        "https://8.8.8.8:0/",
        "https://8.8.8.8:99999/",
        "https://8.8.8.8:443:80/",
        "https://*/",
        "https://.example/",
        "https:///",
        "",
    ],
)
def test_nothing_but_public_addresses_is_reached(url: str, reached: list[Any]) -> None:
    with pytest.raises(NotSent) as caught:
        send(url, HEADERS, b"{}")
    assert caught.value.reason in {"url", "port", "address", "dns"}
    assert reached == []


@pytest.mark.parametrize("url", ["https://8.8.8.8/", "https://[2606:4700::1111]:8443/", "https://[64:ff9b::808:808]/"])
def test_public_addresses_are_tried(url: str, reached: list[Any]) -> None:
    with pytest.raises(NotSent) as caught:
        send(url, HEADERS, b"{}")
    assert caught.value.reason == "connect" and len(reached) == 1


@pytest.mark.parametrize("private", ["127.0.0.1", "10.1.2.3", "::1", "::ffff:192.168.0.1", "64:ff9b::a00:1"])
def test_every_address_of_a_name_has_to_be_public(
    private: str, reached: list[Any], resolve: Callable[..., list[str]]
) -> None:
    resolve(["8.8.8.8", private])
    with pytest.raises(NotSent) as caught:
        send(f"https://{NAME}/", HEADERS, b"{}")
    assert caught.value.reason == "address" and reached == []


def test_a_name_that_resolves_to_something_else_a_moment_later_changes_nothing(
    reached: list[Any], resolve: Callable[..., list[str]]
) -> None:
    asked = resolve(["8.8.8.8"], ["127.0.0.1"])
    with pytest.raises(NotSent) as caught:
        send(f"https://{NAME}/", HEADERS, b"{}")
    assert caught.value.reason == "connect"
    assert asked == [NAME] and reached == [("8.8.8.8", 443)]
    # The next request asks again, and sees what the name is now.
    with pytest.raises(NotSent) as caught:
        send(f"https://{NAME}/", HEADERS, b"{}")
    assert caught.value.reason == "address" and reached == [("8.8.8.8", 443)]


def test_networks_of_the_operator_are_allowed_and_no_others(settings: Settings) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00:1::/64")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5"):
        check_address(NAME, address)
    for address in ("10.2.0.1", "127.0.0.1", "fd00:2::5"):
        with pytest.raises(NotSent):
            check_address(NAME, address)


def test_in_development_loopback_is_reached_by_its_own_names_only(
    settings: Settings, resolve: Callable[..., list[str]]
) -> None:
    settings.ALLOW_INSECURE_LOOPBACK = True
    with remote(http(b"fine")) as server:
        assert send(server.url, HEADERS, b"{}").status == 200
    resolve(["127.0.0.1"])
    with pytest.raises(NotSent, match="public"):
        send(f"https://{NAME}/", HEADERS, b"{}")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def over(authority: Authority) -> Iterator[Transport]:
    transport = Transport(ca_file=str(authority.path), check=check_address)
    yield transport
    transport.close()


@pytest.fixture
def endpoint(settings: Settings, resolve: Callable[..., list[str]]) -> Callable[[Remote], str]:
    """The URL of a server under a name, in a network that the operator allows."""
    settings.WEBHOOK_ALLOWED_NETWORKS = [ipaddress.ip_network("127.0.0.1")]
    resolve(["127.0.0.1"])
    return lambda server: f"https://{NAME}:{server.port}/hooks?for=us"


def test_the_name_stands_in_host_and_is_what_the_certificate_must_be_for(
    authority: Authority, over: Transport, endpoint: Callable[[Remote], str]
) -> None:
    with remote(http(b"fine", headers={"X-Their": "own"}), tls=authority.server(host=NAME)) as server:
        answer = send(endpoint(server), HEADERS | {"X-Custom": "kept"}, b'{"a": 1}', over=over)
        again = send(endpoint(server), HEADERS, b"{}", over=over)
        call = server.calls[0]
        assert server.connections == 1, "the connection is kept"
    assert (answer.status, answer.body, answer.headers["X-Their"]) == (200, b"fine", "own")
    assert again.status == 200 and 0 < answer.seconds < 15
    assert (call.method, call.target, call.body) == ("POST", "/hooks?for=us", b'{"a": 1}')
    assert call.headers["host"] == f"{NAME}:{server.port}" and call.headers["x-custom"] == "kept"
    with remote(http(b"fine"), tls=authority.server(host="other.example")) as server:
        with pytest.raises(NotSent) as caught:
            send(endpoint(server), HEADERS, b"{}", over=over)
        assert caught.value.reason == "tls" and server.calls == []


def test_a_redirect_is_an_answer_and_not_followed(
    authority: Authority, over: Transport, endpoint: Callable[[Remote], str]
) -> None:
    with remote(http(b"")) as inside:
        moved = http(b"", status=307, headers={"Location": inside.url})
        with remote(moved, tls=authority.server(host=NAME)) as server:
            assert send(endpoint(server), HEADERS, b"{}", over=over).status == 307
        assert inside.connections == 0


def test_proxies_of_the_environment_are_not_used(
    authority: Authority, over: Transport, endpoint: Callable[[Remote], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with remote(http(b"")) as proxy, remote(http(b"fine"), tls=authority.server(host=NAME)) as server:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert send(endpoint(server), HEADERS, b"{}", over=over).body == b"fine"
        assert proxy.connections == 0


def test_a_long_answer_counts_and_its_beginning_is_kept(
    authority: Authority, over: Transport, endpoint: Callable[[Remote], str]
) -> None:
    with remote(http(b"x" * 10_000_000), tls=authority.server(host=NAME)) as server:
        answer = send(endpoint(server), HEADERS, b"{}", over=over)
    assert answer.status == 200 and answer.body == b"x" * 2048


def test_an_endpoint_that_drips_is_given_up_in_time(
    authority: Authority, over: Transport, endpoint: Callable[[Remote], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(call: Call, wire: Wire) -> None:
        wire.drip(b"HTTP/1.1 200 OK\r\n", every=0.2)

    monkeypatch.setattr(sender, "DEADLINE", 0.5)
    with remote(drip, tls=authority.server(host=NAME)) as server:
        started = time.monotonic()
        with pytest.raises(NotSent) as caught:
            send(endpoint(server), HEADERS, b"{}", over=over)
        assert caught.value.reason == "timeout" and time.monotonic() - started < 30
        assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_an_endpoint_that_hangs_up_gave_no_answer(
    authority: Authority, over: Transport, endpoint: Callable[[Remote], str]
) -> None:
    def hang_up(call: Call, wire: Wire) -> None:
        return None

    with remote(hang_up, tls=authority.server(host=NAME)) as server, pytest.raises(NotSent) as caught:
        send(endpoint(server), HEADERS, b"{}", over=over)
    assert caught.value.reason == "cut"

"""The shipped nginx does not repeat what a hostile request says: no injected header, no foreign host name."""

import shutil
import socket
import ssl
from contextlib import ExitStack

import pytest

from tests.support import postgres
from tests.support.deployment import Deployment

pytestmark = [
    pytest.mark.once,
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is missing (apt-get install nginx)"),
    pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL is missing (apt-get install postgresql)"),
]
# A path below each location of the site.
LOCATIONS = [
    "/", "/connect/", "/connect/callback/", "/accounts/confirm-email/", "/accounts/password/reset/key/",
    "/accounts/invitations/", "/accounts/notifications/stop/", "/c/abc/connect/links/", "/webhooks/snapinspect/",
    "/health/", "/metrics", "/said-by-nginx",
]  # fmt: skip
ENDINGS = [
    "%0d%0aX-Injected:%201", "%0aX-Injected:1", "%0d%0a%0d%0a<script>", "%E5%98%8A%E5%98%8DX-Injected:1",
    "//evil.example/", "..%2f..%2f", "%00", "\\evil.example", "?next=//evil.example&access_token=secret-in-query",
]  # fmt: skip


def answer(deployment: Deployment, request: str, *, tls: bool, name: str = "localhost") -> str:
    """Everything nginx sends back until it closes; empty when it refuses the handshake."""
    context = ssl.create_default_context(cafile=str(deployment.certificate))
    context.check_hostname = False
    port = deployment.https_port if tls else deployment.http_port
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
        if tls:
            try:
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname=name))
            except ssl.SSLError:
                return ""
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("location", LOCATIONS)
def test_no_path_adds_a_header_to_an_answer(deployment: Deployment, location: str, tls: bool) -> None:
    for ending in ENDINGS:
        got = answer(
            deployment,
            f"GET {location}{ending} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            tls=tls,
        )
        head = got.partition("\r\n\r\n")[0].lower()
        assert head.startswith("http/1.1 "), ending
        assert "\nx-injected" not in head, ending
        assert "secret-in-query" not in head, ending
        for line in head.splitlines():
            if line.startswith("location: "):
                assert line.startswith(("location: https://localhost/", "location: /")), line
                assert not line.startswith("location: //"), line


@pytest.mark.parametrize("location", LOCATIONS)
def test_another_host_name_is_refused_and_not_repeated(deployment: Deployment, location: str) -> None:
    for tls in (False, True):
        for head in ("Host: evil.example", "Host: localhost.evil.example", "Host: evil.example:443", "X: y"):
            got = answer(deployment, f"GET {location}x HTTP/1.1\r\n{head}\r\nConnection: close\r\n\r\n", tls=tls)
            assert got.startswith("HTTP/1.1 400 "), (head, got[:100])
            assert "evil.example" not in got
            assert "Location:" not in got


def test_a_handshake_for_another_name_is_refused(deployment: Deployment) -> None:
    request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert answer(deployment, request, tls=True).startswith("HTTP/1.1 ")
    assert answer(deployment, request, tls=True, name="evil.example") == ""

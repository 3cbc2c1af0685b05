"""Nothing secret reaches a log, whatever the level and whatever the remote does."""

import contextlib
import logging
from collections.abc import Callable

import pytest

from integrations.snapinspect.client import Client
from integrations.snapinspect.errors import SnapInspectError
from integrations.snapinspect.exchange_call import Exchanged

from .remotes import ACCESS, NEW_ACCESS, NEW_REFRESH, REFRESH, SECRETS, Answering, Call, Wire, http, remote

GOOD = {"access_token": NEW_ACCESS, "refresh_token": NEW_REFRESH, "state": "state-1"}


def broken_headers(call: Call, wire: Wire) -> None:
    """Header lines that cannot be parsed, with the secrets of the request in them."""
    echo = f"{call.headers.get('authorization', '')} {call.body.decode()} {REFRESH}"
    wire.send(f"HTTP/1.1 200 OK\r\nno colon {echo}\r\n {echo}\r\nX: {echo}\r\n\r\n{{}}".encode())


def status_line(call: Call, wire: Wire) -> None:
    wire.send(f"HTTP/1.1 2xx {ACCESS} {REFRESH}\r\n\r\n".encode())


ANSWERS: dict[str, Answering | bytes] = {
    "good": http(GOOD),
    "echo": http({"error_description": [ACCESS, REFRESH]}, status=400),
    "unauthorized": http(ACCESS, status=401),
    "redirect": http("", status=302, headers={"Location": f"https://evil.example/?t={ACCESS}&r={REFRESH}"}),
    "cookie": http({}, headers={"Set-Cookie": f"t={ACCESS}"}),
    "two lengths": http({}, headers={"Content-Length": ACCESS}),
    "encoding": http({}, headers={"Content-Encoding": ACCESS, "Transfer-Encoding": REFRESH}),
    "broken headers": broken_headers,
    "status line": status_line,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_T3_no_secret_is_logged_with_every_logger_at_debug(
    name: str,
    client_of: Callable[..., Client],
    exchange_at: Callable[..., Exchanged],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG), remote(ANSWERS[name]) as server:
        for call in (
            lambda: client_of(server, deadline=1.0).get("user?since=1"),
            lambda: client_of(server, deadline=1.0).user(),
            lambda: exchange_at(server.url),
        ):
            with contextlib.suppress(SnapInspectError):
                call()
    assert caplog.records, "urllib3 speaks at DEBUG; silence here would mean that nothing was caught"
    printed = capfd.readouterr()
    said = [record.getMessage() + str(record.args) + str(record.exc_info) for record in caplog.records]
    for text in [*said, caplog.text, printed.out, printed.err]:
        assert not any(secret in text for secret in SECRETS)

"""One POST of a webhook message over the wire: whole, or in the ways a test may order."""

import socket
import ssl
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from integrations.sandbox.addresses import on_this_machine

LONGEST_ANSWER = 1 << 16
CHUNK = 20


@dataclass(frozen=True)
class Message:
    """What is posted; every attempt sends these same bytes. `chunked`: without a Content-Length."""

    body: bytes = field(repr=False)
    content_type: str = "application/json"
    chunked: bool = False


def post(
    url: str, message: Message, *, cut: bool, seconds: float, connected: Callable[[socket.socket], None]
) -> int | None:
    """The status of the answer, whatever it is: redirects are not followed.

    `cut`: closes after half of the body and returns None. `seconds`: the longest wait for the receiver's next
    byte. `connected`: is given the connection before anything is sent on it. Raises OSError, HTTPException or
    ValueError when there is no answer.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: HTTPConnection
    if parts.scheme == "https":
        connection = HTTPSConnection(host, parts.port, timeout=seconds, context=tls(verified=not on_this_machine(host)))
    else:
        connection = HTTPConnection(host, parts.port, timeout=seconds)
    body = chunks(message.body) if message.chunked else message.body
    with closing(connection):
        connection.connect()
        connected(connection.sock)
        connection.putrequest("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        connection.putheader("User-Agent", "SnapInspect-stand-in")
        connection.putheader("Content-Type", message.content_type)
        connection.putheader("Connection", "close")
        if message.chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        else:
            connection.putheader("Content-Length", str(max(len(body), int(cut))))
        connection.endheaders()
        if cut:
            connection.send(body[: len(body) // 2])
            return None
        # A receiver may answer, and hang up, before it has read everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.send(body)
        with connection.getresponse() as response:
            # Hanging up on an unread answer would look like an error over there.
            with suppress(OSError, HTTPException):
                response.read(LONGEST_ANSWER)
            return response.status


def chunks(body: bytes) -> bytes:
    """The body in chunks of twenty bytes (RFC 9112 section 7.1)."""
    pieces = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


@lru_cache(maxsize=2)
def tls(*, verified: bool) -> ssl.SSLContext:
    """How https addresses are spoken to. `verified`: only with a certificate that is valid for the host."""
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

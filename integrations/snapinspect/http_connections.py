"""urllib3's connections, with a deadline for everything they do.

A timeout of requests or urllib3 limits the wait for the *next byte*: a server that sends one byte a second holds a
caller for ever. urllib3 does count connecting and sending against `Timeout(total=...)`; added here are the name lookup,
all addresses of a host together, and every read of headers and body.
"""

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_WITHOUT_BODY = frozenset({204, 304})


class NotSent(Exception):
    """No connection was made, so nothing was sent. kind: dns, connect, tls, timeout."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class _UntilDeadline(io.RawIOBase):
    """Reads from a socket until the deadline, however often something arrives in between."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._sock = raw, sock
        self.is_over = False
        self._deadline = time.monotonic() + (sock.gettimeout() or 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.is_over:
            return None
        self._sock.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """The final answer to a request, read until the deadline. Unparsable header lines are dropped unlogged.

    What a server sends behind an answer must not be taken for the next one, which may be another customer's. So the
    connection is not kept after an answer that has no body, since some servers send one all the same, nor when bytes
    behind the answer have come with it.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # Here the socket's timeout is what is left of urllib3's total.
        self._is_head = kwargs.get("method") == "HEAD"
        self._raw, self._sock = _UntilDeadline(self.fp.detach(), sock), sock
        self.fp = io.BufferedReader(self._raw)

    def begin(self) -> None:
        super().begin()
        while 100 < self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            # An interim answer (RFC 9110 section 15.2); http.client only knows 100.
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()
        if self._is_head or self.status in _WITHOUT_BODY:
            self.will_close = True
        # urllib3 would log what it could not parse, and that may echo a token.
        self.msg.defects.clear()
        self.msg.set_payload("")

    def _close_conn(self) -> None:
        self._raw.is_over = True
        if self.fp is not None and self.fp.peek(1):
            # The pool may have the connection already: it finds it closed.
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        super()._close_conn()  # type: ignore[misc]


class _Deadlined(HTTPConnection):
    """Connects within `timeout` seconds in all, or raises NotSent.

    check: gets the host and each of its addresses before any of them is connected to; may raise.
    """

    response_class = _Response
    _connect_by = 0.0

    def __init__(self, *args: Any, check: Callable[[str, str], None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check = check

    def connect(self) -> None:
        self._connect_by = time.monotonic() + (self.timeout or 0)
        kind = None
        try:
            super().connect()
            self.sock.settimeout(_left(self._connect_by))
            return
        except TimeoutError:
            kind = "timeout"
        except ssl.SSLEOFError:
            kind = "connect"  # the other side closed during the handshake
        except ssl.SSLError:
            kind = "tls"
        except OSError:
            kind = "connect"
        raise NotSent(kind)

    def _new_conn(self) -> socket.socket:
        """Returns a socket that is connected to the first address of the host that answers."""
        kind = "connect"
        found = self._look_up()
        if self._check is not None:
            for *_, address in found:
                self._check(self.host, address[0])
        for family, type_, protocol, _, address in found:
            sock = socket.socket(family, type_, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(_left(self._connect_by))
                sock.connect(address)
                # The rest is for the TLS handshake, which this limits as a whole.
                sock.settimeout(_left(self._connect_by))
                return sock
            except TimeoutError:
                kind = "timeout"
                sock.close()
            except OSError:
                kind = "connect"
                sock.close()
        raise NotSent(kind)

    def _look_up(self) -> list[Any]:
        """Returns the host's addresses. The system's resolver has no deadline, so it runs in a thread."""
        found: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found.put(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError):
                found.put([])

        threading.Thread(target=ask, name="look-up", daemon=True).start()
        try:
            addresses = found.get(timeout=_left(self._connect_by))
        except queue.Empty:
            addresses = []
        if not addresses:
            raise NotSent("dns")
        return addresses


class _DeadlinedTLS(_Deadlined, HTTPSConnection):
    """The same with TLS: `_Deadlined.connect` calls urllib3's, which calls `_Deadlined._new_conn`."""


class PlainPool(HTTPConnectionPool):
    """Connections to one http host (loopback, in development)."""

    ConnectionCls = _Deadlined


class TLSPool(HTTPSConnectionPool):
    """Connections to one https host."""

    ConnectionCls = _DeadlinedTLS


def _left(deadline: float) -> float:
    """Returns seconds until `deadline` on the monotonic clock. Raises TimeoutError when it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left

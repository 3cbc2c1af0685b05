"""Pooled HTTP to SnapInspect and to webhook endpoints, with a deadline for everything and a size limit for answers.

Requests are prepared (and signed) with requests and sent through urllib3's pools directly. requests' Session would add
proxies and .netrc passwords from the environment, keep cookies (and send one customer's with another's call), and
follow redirects.
"""

import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Container, Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from http.client import HTTPException
from typing import Final

from requests import PreparedRequest
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPResponse, Timeout
from urllib3.exceptions import DecodeError, HTTPError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from integrations.snapinspect import safe_urls
from integrations.snapinspect.errors import BadPath, Garbled, SnapInspectError, Unreachable, for_status
from integrations.snapinspect.http_connections import NotSent, PlainPool, TLSPool

# Of every request that we send.
HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "connect"}
MAX_BYTES: Final = 10_000_000
LONGEST_RETRY_AFTER: Final = 15 * 60.0
_OF_TRANSFER: Final = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "content-length", "content-encoding",
})  # fmt: skip
_SECONDS: Final = re.compile(r"\s*([0-9]{1,90}(?:\.[0-9]{1,9})?)\s*(?:s\b|,|$)")
_CHUNK = 64 * 1024
_KEPT_CONNECTIONS = 32
_MOST_ORIGINS = 256
# ValueError: what http.client and urllib3 raise for answers that are not even HTTP; its text quotes them.
_BROKEN = (HTTPError, HTTPException, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status.

    headers: without those about the transfer: hop-by-hop ones (RFC 9110 section 7.6.1), encoding, and length
    but of HEAD.
    body: bytes after decompression. failure: set when the body is incomplete. seconds: from the call to the last byte.
    retry_after: seconds, at most LONGEST_RETRY_AFTER.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float
    retry_after: float | None
    failure: SnapInspectError | None

    def error(self) -> SnapInspectError | None:
        """Returns why this is not a complete 2xx answer; a bad status counts before an incomplete body."""
        return for_status(self.status, retry_after=self.retry_after) or self.failure


@dataclass(frozen=True, slots=True)
class OpenReply:
    """An answer whose body is still to be read, until the deadline of its request.

    status, headers: as of a Reply. pieces: of the body after decompression. Iterating raises Unreachable where it ends
    early, Garbled where it is too large or cannot be decoded; `close` gives up the rest.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    pieces: Generator[bytes] = field(repr=False)


class Transport:
    """Kept-alive connections, safe to share between threads and customers: no request leaves anything behind.

    ca_file: certificates to trust instead of certifi's. check: gets the host and each address that its name resolved
    to, before anything connects to one of these addresses; what it raises, `send` raises.
    """

    def __init__(self, *, ca_file: str | None = None, check: Callable[[str, str], None] | None = None) -> None:
        self._ca_file = ca_file or DEFAULT_CA_BUNDLE_PATH
        self._check = check
        self._pools: dict[safe_urls.Origin, HTTPConnectionPool] = {}

    def send(
        self,
        request: PreparedRequest,
        *,
        deadline: float,
        max_bytes: int = MAX_BYTES,
        fresh: bool = False,
    ) -> Reply:
        """Sends once and returns the answer, whatever its status. Redirects are not followed.

        deadline: seconds for name lookup, connect, TLS, sending, headers and body together. max_bytes: of the body
        after decompression. fresh: on a new connection; a kept one may have been closed by the other side, and then it
        is unknown whether the request arrived. Raises Unreachable when there is no status line, BadPath when the URL is
        not http(s).
        """
        pool = self._pool_for(request, fresh=fresh)
        _in_progress[threading.get_ident()] = time.monotonic()
        try:
            return self._send(pool, request, deadline, max_bytes)
        finally:
            _in_progress.pop(threading.get_ident(), None)
            if fresh:
                pool.close()

    def open(self, request: PreparedRequest, *, deadline: float, max_bytes: int, fresh: bool = False) -> OpenReply:
        """Like `send`, but returns before the body is read, and leaves errors in it to whoever reads it."""
        pool = self._pool_for(request, fresh=fresh)
        try:
            response = _sent(pool, request, deadline)
        except BaseException:
            if fresh:
                pool.close()
            raise
        pieces = _pieces(response, max_bytes, close_too=pool if fresh else None)
        next(pieces)
        kind = "too_large" if (response.length_remaining or 0) > max_bytes else ""
        if request.method != "HEAD" and not _is_readable(response):
            # A token in it could not be seen.
            kind = "not_text"
        if kind:
            pieces.close()
            raise Garbled(kind, status=response.status)
        return OpenReply(response.status, _end_to_end(response, is_head=request.method == "HEAD"), pieces)

    def close(self) -> None:
        """Closes the kept connections."""
        while self._pools:
            self._pools.popitem()[1].close()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Not ssl.create_default_context(): that writes session keys wherever SSLKEYLOGFILE points.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # requires certificate and host name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self._ca_file)
        return context

    def _pool_for(self, request: PreparedRequest, *, fresh: bool) -> HTTPConnectionPool:
        where = safe_urls.origin(request.url or "")
        if where is None:
            raise BadPath("insecure")
        return self._open(where) if fresh else self._pool(where)

    def _pool(self, where: safe_urls.Origin) -> HTTPConnectionPool:
        # Two threads may both find none; setdefault keeps one of them.
        found = self._pools.get(where) or self._pools.setdefault(where, self._open(where))
        while len(self._pools) > _MOST_ORIGINS:
            # Not closed: a thread may be about to use it. urllib3 closes the connections with the last reference.
            self._pools.pop(next(iter(self._pools)), None)
        return found

    def _open(self, where: safe_urls.Origin) -> HTTPConnectionPool:
        if where.scheme == "https":
            return TLSPool(where.host, where.port, maxsize=_KEPT_CONNECTIONS, ssl_context=self._tls, check=self._check)
        return PlainPool(where.host, where.port, maxsize=_KEPT_CONNECTIONS, check=self._check)

    def _send(self, pool: HTTPConnectionPool, request: PreparedRequest, deadline: float, max_bytes: int) -> Reply:
        started = time.monotonic()
        response = _sent(pool, request, deadline)
        body, failure = bytearray(), None
        try:
            for piece in _pieces(response, max_bytes):
                body += piece
        except SnapInspectError as error:
            failure = error
        return Reply(
            status=response.status,
            headers=_end_to_end(response, is_head=request.method == "HEAD"),
            body=bytes(body),
            seconds=time.monotonic() - started,
            retry_after=_retry_after(response.headers.get("Retry-After")),
            failure=failure,
        )


# When the call of each thread of this process began, by time.monotonic().
_in_progress: dict[int, float] = {}


def calls_longer_than(seconds: float, *, by: Container[int | None]) -> int:
    """Returns how many calls of these threads (`threading.get_ident`) have lasted longer than that."""
    began_before = time.monotonic() - seconds
    # A copy: other threads begin and end calls meanwhile.
    return sum(began < began_before for thread, began in list(_in_progress.items()) if thread in by)


# One transport per process: sockets must not be shared with a forked parent or sibling.
_shared: dict[int, Transport] = {}


def shared() -> Transport:
    """Returns this process's transport, created on first use."""
    pid = os.getpid()
    return _shared.get(pid) or _shared.setdefault(pid, Transport())


def _sent(pool: HTTPConnectionPool, request: PreparedRequest, deadline: float) -> BaseHTTPResponse:
    """Returns the answer once its headers are there. Raises Unreachable."""
    failure = None
    try:
        return pool.urlopen(
            request.method or "",
            request.path_url,
            body=request.body,
            headers=request.headers,
            timeout=Timeout(total=max(deadline, 0.001)),
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
    except NotSent as error:
        failure = Unreachable(error.kind, sent=False)
    except HTTPTimeoutError:
        failure = Unreachable("timeout")
    except _BROKEN:
        failure = Unreachable("cut")
    # Raised outside the except blocks: the library's errors quote the request and the answer.
    raise failure


def _pieces(
    response: BaseHTTPResponse,
    max_bytes: int,
    *,
    close_too: HTTPConnectionPool | None = None,
) -> Generator[bytes]:
    """Yields nothing, so that `close` has an effect from then on, and then the body. Raises why it ended early.

    close_too: the pool, if it is for this request alone.
    """
    status, size, is_complete = response.status, 0, False
    failure: SnapInspectError | None = None
    try:
        yield b""
        # read1() returns what is there: bytes before a broken connection are kept.
        while failure is None and (piece := response.read1(_CHUNK, decode_content=True)):
            size += len(piece)
            yield piece
            if size > max_bytes:
                failure = Garbled("too_large", status=status)
        # No length, no chunks, no body: the connection may have broken off within the headers.
        if failure is None and not size and response.length_remaining is None and not response.chunked:
            failure = Unreachable("cut")
        is_complete = failure is None
    except DecodeError:
        failure = Garbled("not_text", status=status)
    except HTTPTimeoutError:
        failure = Unreachable("timeout")
    except _BROKEN:
        failure = Unreachable("cut")
    finally:
        if is_complete:
            response.release_conn()
        # A connection that was given back stays open; what an answer without a body had opened does not.
        response.close()
        if close_too is not None:
            close_too.close()
    # Raised outside the except blocks, see `_sent`.
    if failure is not None:
        raise failure


def _is_readable(response: BaseHTTPResponse) -> bool:
    """Whether urllib3 undoes everything that was done to the body."""
    codings = response.headers.get("Content-Encoding", "").lower().split(",")
    known = {"", "identity", *HTTPResponse.CONTENT_DECODERS}
    transfer = response.headers.get("Transfer-Encoding", "").lower().strip()
    return transfer in {"", "chunked"} and all(coding.strip() in known for coding in codings)


def _end_to_end(response: BaseHTTPResponse, *, is_head: bool) -> dict[str, str]:
    dropped = _OF_TRANSFER | {name.strip().lower() for name in response.headers.get("Connection", "").split(",")}
    length = response.headers.get("Content-Length", "")
    if is_head and "Content-Encoding" not in response.headers and length.isascii() and length.isdecimal():
        dropped -= {"content-length"}
    return {name: value for name, value in response.headers.itermerged() if name.lower() not in dropped}


def _retry_after(header: str | None) -> float | None:
    """Returns seconds to wait (RFC 9110 section 10.2.3: a number of seconds or a date); None if unreadable."""
    if header is None or len(header) > 100:
        return None
    # Some send a fraction, a unit, or the header twice.
    if seconds := _SECONDS.match(header):
        return min(float(seconds[1]), LONGEST_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, 0.0), LONGEST_RETRY_AFTER)

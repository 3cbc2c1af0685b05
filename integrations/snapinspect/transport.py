"""The one way out to SnapInspect: pooled HTTP with a deadline over everything and a cap on the answer.

Requests are prepared (and signed) with requests and sent through urllib3's pools directly. requests'
Session is left out on purpose: it adds proxies and .netrc passwords from the environment, keeps cookies
(one customer's would travel with another's call) and follows redirects. Here none of that exists, so none
can be left switched on.
"""

import os
import ssl
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from http.client import HTTPException
from typing import Final

from requests import PreparedRequest
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout
from urllib3.exceptions import DecodeError, HTTPError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from integrations.snapinspect import safe_urls
from integrations.snapinspect.http_connections import NotSent, PlainPool, TLSPool

from .errors import BadPath, Garbled, SnapInspectError, Unreachable, for_status

MAX_BYTES: Final = 10_000_000
LONGEST_RETRY_AFTER: Final = 15 * 60.0
_CHUNK = 64 * 1024
_KEPT_CONNECTIONS = 32
# ValueError: what http.client and urllib3 raise for answers that are not even HTTP; its text quotes them.
_BROKEN = (HTTPError, HTTPException, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came, whatever its status.

    body: bytes after decompression. failure: set when the body is not complete (what is there may still be of
    use). seconds: from the call to the last byte. retry_after: seconds, at most 15 minutes.
    """

    status: int
    body: bytes = field(repr=False)
    seconds: float
    retry_after: float | None
    failure: SnapInspectError | None

    def error(self) -> SnapInspectError | None:
        """Why this is no complete answer of success; a bad status says more than a broken body."""
        return for_status(self.status, retry_after=self.retry_after) or self.failure


class Transport:
    """Kept-alive connections, safe to share between threads and customers: nothing of a request stays behind.

    ca_file: certificates to trust instead of certifi's.
    """

    def __init__(self, *, ca_file: str | None = None) -> None:
        self._ca_file = ca_file or DEFAULT_CA_BUNDLE_PATH
        self._pools: dict[safe_urls.Place, HTTPConnectionPool] = {}

    def send(
        self,
        request: PreparedRequest,
        *,
        deadline: float,
        max_bytes: int = MAX_BYTES,
        fresh: bool = False,
    ) -> Reply:
        """The answer, whatever its status; redirects are not followed, nothing is tried twice.

        deadline: seconds for all of it: name lookup, connect, TLS, sending, headers and body.
        max_bytes: of the body after decompression.
        fresh: on a connection of its own. A kept one may have been closed by the other side a moment ago,
        and then
            nobody knows whether the request arrived.
        Raises Unreachable when there is no status line, BadPath when the URL is not one of http(s).
        """
        where = safe_urls.place(request.url or "")
        if where is None:
            raise BadPath("insecure")
        pool = self._open(where) if fresh else self._pool(where)
        try:
            return self._send(pool, request, deadline, max_bytes)
        finally:
            if fresh:
                pool.close()

    def close(self) -> None:
        """Drops the kept connections."""
        while self._pools:
            self._pools.popitem()[1].close()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Not ssl.create_default_context(): that writes session keys wherever SSLKEYLOGFILE points.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # requires certificate and host name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self._ca_file)
        return context

    def _pool(self, where: safe_urls.Place) -> HTTPConnectionPool:
        # Two threads may both find nothing; setdefault lets one of them win.
        return self._pools.get(where) or self._pools.setdefault(where, self._open(where))

    def _open(self, where: safe_urls.Place) -> HTTPConnectionPool:
        if where.scheme == "https":
            return TLSPool(where.host, where.port, maxsize=_KEPT_CONNECTIONS, ssl_context=self._tls)
        return PlainPool(where.host, where.port, maxsize=_KEPT_CONNECTIONS)

    def _send(self, pool: HTTPConnectionPool, request: PreparedRequest, deadline: float, max_bytes: int) -> Reply:
        started = time.monotonic()
        failure = None
        try:
            response = pool.urlopen(
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
        # Raised out here, with no context: the library's errors quote the request and the answer.
        if failure is not None:
            raise failure

        body, broken = _read_body(response, max_bytes)
        return Reply(
            status=response.status,
            body=body,
            seconds=time.monotonic() - started,
            retry_after=_retry_after(response.headers.get("Retry-After")),
            failure=broken,
        )


# One transport per process: sockets must not be shared with a forked parent or sibling.
_shared: dict[int, Transport] = {}


def shared() -> Transport:
    """This process's transport, made on first use."""
    pid = os.getpid()
    return _shared.get(pid) or _shared.setdefault(pid, Transport())


def _read_body(response: BaseHTTPResponse, max_bytes: int) -> tuple[bytes, SnapInspectError | None]:
    """The body as far as it came, and why it ended early; such a connection is never used again."""
    body = bytearray()
    status = response.status
    failure: SnapInspectError | None = None
    try:
        # read1() returns what is there: bytes that came before a cut are not lost with it.
        while chunk := response.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > max_bytes:
                failure = Garbled("too_large", status=status)
                break
        # No length, no chunks, no body: the connection may as well have broken off within the headers.
        if not body and response.length_remaining is None and not response.chunked:
            failure = Unreachable("cut", status=status)
    except DecodeError:
        failure = Garbled("not_text", status=status)
    except HTTPTimeoutError:
        failure = Unreachable("timeout", status=status)
    except _BROKEN:
        failure = Unreachable("cut", status=status)
    if failure is not None:
        response.close()
    else:
        response.release_conn()
    return bytes(body), failure


def _retry_after(header: str | None) -> float | None:
    """Seconds to wait (RFC 9110 section 10.2.3: a number of seconds or a date); None if unreadable."""
    if header is None or len(header) > 100:
        return None
    if header.strip().isdecimal():
        return min(float(header), LONGEST_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, 0.0), LONGEST_RETRY_AFTER)

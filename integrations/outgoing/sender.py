"""One POST to a webhook endpoint, whose address customers enter: never to this machine or its neighbours.

A name is resolved once, all its addresses are checked, and the connection goes to one of these very addresses. So a
name that resolves to something else a moment later (DNS rebinding) changes nothing. The name stays in Host, in SNI and
in the check of the certificate. No redirect is followed, and no proxy of the environment is used.
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from django.conf import settings
from requests import PreparedRequest, Request
from requests.exceptions import RequestException

from integrations.snapinspect import safe_urls
from integrations.snapinspect.errors import SnapInspectError
from integrations.snapinspect.transport import Transport

# Seconds for name lookup, connect, TLS, sending and the answer together.
DEADLINE = 15.0
MOST_BYTES_READ = 64 * 1024
MOST_BYTES_KEPT = 2 * 1024
LOWEST_FREE_PORT = 1024

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Beside what `ipaddress` calls not global, which differs between versions of Python.
_REFUSED = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "224.0.0.0/4",  # multicast
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID (RFC 2928)
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
    )
]
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered. body: its first MOST_BYTES_KEPT bytes. seconds: from the call to the last byte."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float


class NotSent(Exception):
    """There is no answer. reason: a key of REASONS. After `timeout` and `cut` the endpoint may have got the request."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


REASONS = {
    "url": "The URL must begin with https:// and a public host name, without a user name or password.",
    "port": f"The port must be 443 or at least {LOWEST_FREE_PORT}.",
    "address": "The host name does not resolve to public addresses only.",
    "dns": "The host name does not resolve.",
    "connect": "The server does not accept connections.",
    "tls": "The server's certificate is not valid for this host name.",
    "timeout": f"The server did not answer within {DEADLINE:g} seconds.",
    "cut": "The connection broke before the server had answered.",
}


def send(url: str, headers: Mapping[str, str], body: bytes, *, over: Transport | None = None) -> Answer:
    """Posts the body and returns the answer, whatever its status. Raises NotSent."""
    check_url(url)
    request = _prepared(url).copy()
    try:
        request.prepare_headers({"User-Agent": "connect", **headers})
        request.prepare_body(body, None)
    except (RequestException, ValueError):
        raise NotSent("url") from None
    reason = ""
    try:
        reply = (over or _shared_transport()).send(request, deadline=DEADLINE, max_bytes=MOST_BYTES_READ)
    except SnapInspectError as error:
        reason = error.kind
    # Outside the except block: the error of the library quotes the request.
    if reason:
        raise NotSent(reason)
    return Answer(reply.status, reply.headers, reply.body[:MOST_BYTES_KEPT], reply.seconds)


@lru_cache(maxsize=256)
def _prepared(url: str) -> PreparedRequest:
    """A POST to this URL, without headers and body. To be copied. Raises NotSent."""
    try:
        request = Request("POST", url).prepare()
    except (RequestException, ValueError):
        raise NotSent("url") from None
    # What was checked is what is called, if two parsers agree about it.
    if safe_urls.origin(request.url or "") != safe_urls.origin(url):
        raise NotSent("url")
    return request


def check_url(url: str) -> None:
    """Raises NotSent (`url` or `port`) for a URL that is never called, without resolving its name."""
    where = safe_urls.origin(url)
    if where is None or not safe_urls.is_secure(url, allow_loopback_http=settings.ALLOW_INSECURE_LOOPBACK):
        raise NotSent("url")
    is_loopback = settings.ALLOW_INSECURE_LOOPBACK and safe_urls.is_loopback(where.host)
    if where.port != 443 and where.port < LOWEST_FREE_PORT and not is_loopback:
        raise NotSent("port")


def check_address(host: str, address: str) -> None:
    """Raises NotSent (`address`) unless requests to this host may go to this address."""
    found = _embedded(ipaddress.ip_address(address))
    if any(found in network for network in settings.WEBHOOK_ALLOWED_NETWORKS):
        return
    if settings.ALLOW_INSECURE_LOOPBACK and safe_urls.is_loopback(host) and found.is_loopback:
        return
    if not _is_public(found):
        raise NotSent("address")


def _embedded(address: Address) -> Address:
    """The IPv4 address that a mapped (RFC 4291 section 2.5.5.2) or NAT64 address stands for; others as they are."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address not in _GLOBAL_UNICAST):
        return False
    return address.is_global and not any(address in network for network in _REFUSED)


# One per process: sockets must not be shared with a forked parent or sibling.
_transports: dict[int, Transport] = {}


def _shared_transport() -> Transport:
    pid = os.getpid()
    return _transports.get(pid) or _transports.setdefault(pid, Transport(check=check_address))

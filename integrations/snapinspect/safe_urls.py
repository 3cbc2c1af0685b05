"""Which URLs of SnapInspect may be called, and paths that cannot leave the API base."""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from integrations.snapinspect.errors import BadPath

# Characters a URL may hold (RFC 3986 section 2). Browsers and libraries disagree about the backslash, and urlsplit()
# drops tabs and newlines: such URLs are refused.
_URL = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,8000}")
_PORTS = {"http": 80, "https": 443}

# What a path may consist of. A segment starts with neither "." nor "@" and holds no ":". A percent escape stands for no
# control character, and in a segment for no "%" (25), "." (2e), "/" (2f), "@" (40), ":" (3a) or backslash (5c): those
# change their meaning if something on the way decodes them.
_HEX_BUT_CONTROL = r"%(?:[2-6][0-9A-Fa-f]|7[0-9A-Ea-e]|[89A-Fa-f][0-9A-Fa-f])"
_ESCAPE = rf"(?!%(?:25|2[EeFf]|3[Aa]|40|5[Cc])){_HEX_BUT_CONTROL}"
_SEGMENT = rf"(?:[A-Za-z0-9_~$!'()*+,=-]|{_ESCAPE})(?:[A-Za-z0-9._~$!'()*+,=-]|{_ESCAPE})*"
_QUERY = rf"\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|{_HEX_BUT_CONTROL})*"
_PATH = re.compile(rf"/?{_SEGMENT}(?:/{_SEGMENT})*/?(?:{_QUERY})?")
LONGEST_PATH = 4000


class Origin(NamedTuple):
    """Where a request goes: must not change between the URL that was checked and the one that is called."""

    scheme: str
    host: str
    port: int


@lru_cache(maxsize=256)
def origin(url: str) -> Origin | None:
    """Returns the origin of an http(s) URL; None if it is none, has a user name, or parsers may disagree about it."""
    split = _split(url)
    return split and _origin(split)


def is_secure(url: str, *, allow_loopback_http: bool) -> bool:
    """Returns whether secrets may be sent there: https, or, if allowed, http to localhost, 127.0.0.0/8 or [::1]."""
    where = origin(url)
    if where is None:
        return False
    return where.scheme == "https" or (allow_loopback_http and is_loopback(where.host))


@lru_cache(maxsize=32)
def require_secure(url: str, *, allow_loopback_http: bool) -> Origin:
    """Returns the origin of a URL that is secure. Raises BadPath otherwise."""
    where = origin(url)
    if where is None or not is_secure(url, allow_loopback_http=allow_loopback_http):
        raise BadPath("insecure")
    return where


def join(base: str, path: str) -> str:
    """Returns the URL of `path` below `base`, with or without the base's last slash and the path's first.

    The path may carry a query. Raises BadPath for anything that some parser could resolve elsewhere: other hosts, dot
    segments, encoded separators, control characters.
    """
    if not is_path(path):
        raise BadPath("outside_base")
    root = base if base.endswith("/") else base + "/"
    url = root + path.removeprefix("/")
    if not is_below(base, url):
        raise BadPath("outside_base")
    return url


def is_path(path: str) -> bool:
    """Returns whether `join` accepts this path."""
    return isinstance(path, str) and len(path) <= LONGEST_PATH and _PATH.fullmatch(path) is not None


def is_below(base: str, url: str) -> bool:
    """Returns whether `url` has the origin of `base` and a path below its path."""
    root, split = _base(base), _split(url)
    return split is not None and _origin(split) == root[0] and split.path.startswith(root[1])


def relative_to(base: str, link: str) -> str:
    """Returns the path and query of an absolute link from SnapInspect, for `join`. Raises BadPath if it leads away."""
    if not isinstance(link, str) or not is_below(base, link):
        raise BadPath("outside_base")
    split = urlsplit(link)
    path = split.path.removeprefix(_base(base)[1]) + (f"?{split.query}" if split.query else "")
    # join() accepts a leading slash; here it means that the link held two.
    if path.startswith("/") or not join(base, path):
        raise BadPath("outside_base")
    return path


def as_if_https(url: str, build: Callable[[str], str]) -> str:
    """Returns `build(url)` for a builder that accepts only https, also when `url` is loopback http.

    oauthlib refuses every http URL, and its switch (OAUTHLIB_INSECURE_TRANSPORT) allows all hosts at once. So for
    loopback only, the builder gets https, and the scheme is restored in its result. `require_secure` has decided before
    whether loopback http is allowed. Other http URLs reach the builder, which refuses them.
    """
    where = origin(url)
    if where is None or where.scheme == "https" or not is_loopback(where.host):
        return build(url)
    return "http://" + build("https://" + url[len("http://") :]).removeprefix("https://")


def is_loopback(host: str) -> bool:
    """Returns whether the host is localhost, 127.0.0.0/8 or ::1, without resolving a name."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address in ipaddress.ip_network("127.0.0.0/8") or address == ipaddress.ip_address("::1")


def _split(url: str) -> SplitResult | None:
    if _URL.fullmatch(url) is None or "#" in url:
        return None
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _origin(split: SplitResult) -> Origin | None:
    try:
        port = split.port
    except ValueError:
        return None
    if split.scheme not in _PORTS or not split.hostname or "@" in split.netloc or "%" in split.netloc:
        return None
    return Origin(split.scheme, split.hostname, _PORTS[split.scheme] if port is None else port)


@lru_cache(maxsize=32)
def _base(base: str) -> tuple[Origin, str]:
    """Returns the origin of a base URL, and its path with the last slash."""
    split = _split(base)
    where = split and _origin(split)
    if split is None or where is None or split.query:
        raise BadPath("outside_base")
    return where, split.path if split.path.endswith("/") else split.path + "/"

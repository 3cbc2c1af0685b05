"""HTTP requests and responses, as the rest of the stand-in uses them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Pairs = list[tuple[str, str]]

FORM = "application/x-www-form-urlencoded"


@dataclass
class Request:
    """One request with its whole body. Not printable: query, headers and body contain tokens."""

    method: str
    target: str = field(repr=False)
    headers: Message = field(repr=False)
    body: bytes = field(repr=False)
    peer: str

    @property
    def is_read(self) -> bool:
        """Whether the method is GET or HEAD."""
        return self.method in ("GET", "HEAD")

    @cached_property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> Pairs:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @cached_property
    def content_type(self) -> str:
        return self.headers.get_content_type() if "Content-Type" in self.headers else ""

    @cached_property
    def form(self) -> Pairs:
        """The fields of a form-encoded body, in order; empty for any other content type."""
        if self.content_type != FORM:
            return []
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    @cached_property
    def bearer(self) -> str:
        """The token of the Authorization header (RFC 6750 section 2.1), or an empty string."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


@dataclass
class Response:
    """A response with a finished body."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    def render(self) -> "Response":
        return self


@dataclass
class JSONResponse:
    """A JSON object, which a fault can still change. `duplicate`: keys that are sent twice."""

    fields: dict[str, Any] = field(repr=False)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    duplicate: list[str] = field(default_factory=list)

    def render(self) -> Response:
        text = json.dumps(self.fields)
        if self.duplicate:
            # The real value comes last: that is the one most parsers keep.
            decoys = ", ".join(f'{json.dumps(key)}: "duplicate"' for key in self.duplicate)
            text = f"{{{decoys}, {text[1:]}"
        headers = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
        return Response(self.status, text.encode(), headers | self.headers)


@dataclass
class ClientRedirect:
    """The redirect back to the application (RFC 6749 section 4.1.2), whose parameters a fault can still change.

    A parameter that is None is left out. `duplicate`: parameters that are sent twice.
    """

    redirect_uri: str
    fields: dict[str, Any] = field(repr=False)
    duplicate: list[str] = field(default_factory=list)

    def render(self) -> Response:
        pairs = [(name, str(value)) for name, value in self.fields.items() if value is not None]
        pairs += [pair for pair in pairs if pair[0] in self.duplicate]
        separator = "&" if urlsplit(self.redirect_uri).query else "?"
        location = f"{self.redirect_uri}{separator}{urlencode(pairs)}"
        return Response(302, headers={"Location": location, "Cache-Control": "no-store"})


Answer = Response | JSONResponse | ClientRedirect


def error(status: int, code: str, description: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A JSON error. The shape is assumed: that of RFC 6749 section 5.2."""
    return JSONResponse({"error": code, "error_description": description}, status, headers or {})


def html(text: str, status: int = 200) -> Response:
    """A page."""
    return Response(status, text.encode(), {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"})


def see_other(location: str) -> Response:
    """A redirect after a form, so that a reload does not send the form again."""
    return Response(303, headers={"Location": location})


def path_matches(path: str, pattern: str) -> bool:
    """Whether `path` equals the pattern, or starts with it if the pattern ends with an asterisk."""
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def parameter_problems(pairs: Pairs, *, required: Iterable[str], optional: Iterable[str] = ()) -> list[str]:
    """What is wrong with the names of these parameters, one sentence each; never quotes a value."""
    names = [name for name, _ in pairs]
    given = dict(pairs)
    required = tuple(required)
    known = {*required, *optional}
    return [
        *(f"{name} is missing." for name in required if name not in given),
        *(f"{name} is empty." for name in required if given.get(name) == ""),
        *(f"{name} is given more than once." for name in dict.fromkeys(names) if names.count(name) > 1),
        *(f"{name} is not a documented parameter." for name in dict.fromkeys(names) if name not in known),
    ]


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback

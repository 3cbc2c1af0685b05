"""What came in and what goes out: one HTTP request, and the kinds of answer to it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Pairs = list[tuple[str, str]]

FORM = "application/x-www-form-urlencoded"


@dataclass
class Request:
    """One request, its body read completely. Not printable: query, headers and body carry tokens."""

    method: str
    target: str = field(repr=False)
    headers: Message = field(repr=False)
    body: bytes = field(repr=False)
    peer: str

    @property
    def reads(self) -> bool:
        """Whether this asks for a page or document rather than for a change."""
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
        """The fields of a form-encoded body in their order; none for any other content type."""
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
    """Bytes to send, as they are."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    def render(self) -> "Response":
        return self


@dataclass
class JSONAnswer:
    """A JSON document, still open to be altered by a fault. `first_page`: the address where a paged list starts."""

    document: Any = field(repr=False)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    doubled_keys: bool = False
    first_page: str = ""

    def render(self) -> Response:
        text = json.dumps(self.document)
        if self.doubled_keys and self.document:
            # Every key twice, the real value last: what the usual parsers keep.
            decoys = ", ".join(f'{json.dumps(key)}: "duplicate"' for key in self.document)
            text = f"{{{decoys}, {text[1:]}"
        headers = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
        return Response(self.status, text.encode(), headers | self.headers)


@dataclass
class ReturnToApplication:
    """The redirect that sends the customer back to the registered address, parameters still open to a fault."""

    redirect_uri: str
    parameters: Pairs = field(repr=False)

    def render(self) -> Response:
        separator = "&" if urlsplit(self.redirect_uri).query else "?"
        location = f"{self.redirect_uri}{separator}{urlencode(self.parameters)}"
        return Response(302, headers={"Location": location, "Cache-Control": "no-store"})


Answer = Response | JSONAnswer | ReturnToApplication


def refusal(status: int, error: str, description: str, **headers: str) -> JSONAnswer:
    """A JSON error. The shape is assumed: that of RFC 6749 section 5.2."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONAnswer({"error": error, "error_description": description}, status, named)


def html(text: str, status: int = 200) -> Response:
    """A page."""
    return Response(status, text.encode(), {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"})


def see_other(location: str) -> Response:
    """Answers a form so that a reload does not send it again."""
    return Response(303, headers={"Location": location})


def on_path(path: str, wanted: str) -> bool:
    """Whether `path` is the wanted one, or starts like it if `wanted` ends with an asterisk."""
    return path.startswith(wanted[:-1]) if wanted.endswith("*") else path == wanted


def misfits(pairs: Pairs, *, required: Iterable[str], optional: Iterable[str] = ()) -> list[str]:
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

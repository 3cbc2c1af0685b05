"""Parses JSON from SnapInspect, and removes tokens from it.

One bad character must not make an answer worthless. What PostgreSQL cannot store, or RFC 8259 does not allow, is
repaired: bytes that are not UTF-8, lone surrogates and NUL become U+FFFD, and numbers that are none (NaN, 1e400) null.
Limits of size and depth are kept.
"""

import json
import math
import re
from collections.abc import Collection, Generator
from contextlib import closing, suppress
from functools import cached_property

from integrations.snapinspect import json_depth
from integrations.snapinspect.errors import Garbled

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

MAX_DEPTH = 100
MAX_DIGITS = 100
HIDDEN = "[token]"
REST_OF_ESCAPE = 5  # characters of \u0075 behind its first one
MAX_ID_DIGITS = 20
_ID = re.compile(rf"0{{0,{MAX_ID_DIGITS}}}([1-9][0-9]{{0,{MAX_ID_DIGITS - 1}}})(?:\.0{{0,{MAX_ID_DIGITS}}})?")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def parse(body: bytes, *, hide: Collection[str]) -> Json:
    """Returns the JSON value in `body` (UTF-8, with or without a byte order mark). Raises Garbled.

    hide: tokens that are replaced in it, also where they are percent-encoded or escaped as in JSON, so that an answer
    which echoes them cannot carry them into pages and rows.
    """
    try:
        value = _encoded_once(read_leniently(body))
        if isinstance(value, dict) and len(value) == 1:
            # {"d": "{…}"}, as ASP.NET's script services answer.
            value = {key: _encoded_once(inner) for key, inner in value.items()}
        return _Cleaner(hide).clean(value)
    except (ValueError, json_depth.TooDeep):
        pass
    # Raised outside the except block: the parser's error quotes the answer, and would be the context.
    raise Garbled("not_json")


def _encoded_once(value: Json) -> Json:
    """What a text that is JSON stands for; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with suppress(ValueError):
            return read_leniently(repaired(value).encode())
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError
    return int(digits)


def read_leniently(body: bytes) -> Json:
    """Returns the JSON value in `body`, repaired but for its strings (see `repaired`).

    Raises ValueError, and TooDeep.
    """
    value: Json = json_depth.loads(
        text_of(body), strict=False, parse_constant=_no_number, parse_int=_integer, parse_float=_finite
    )
    return value


def repaired(text: str) -> str:
    """Returns the text with U+FFFD for what PostgreSQL or UTF-8 cannot hold."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def readable_text(body: bytes, *, hide: Collection[str]) -> str:
    """Returns any body as text: bytes that are not UTF-8 become escapes, tokens are replaced as in `parse`."""
    text = body.decode("utf-8-sig", "backslashreplace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return _Cleaner(hide).clean_text(text)


def without_tokens(body: bytes, *, hide: Collection[str], is_text: bool, goes_on: bool = False) -> bytes:
    """Returns the body with these tokens replaced; is_text: also where they are spelled as in `parse`.

    goes_on: more follows, and so a token may be left whose last character could be one of an escape that is cut off.
    """
    for token in hide:
        body = body.replace(token.encode(), HIDDEN.encode())
    if is_text and (b"%" in body or b"\\" in body):
        return _Cleaner(hide, goes_on=goes_on).clean_text(body.decode("latin-1")).encode("latin-1")
    return body


def pieces_without_tokens(
    pieces: Generator[bytes], *, hide: Collection[str], is_text: bool, start: bytes
) -> Generator[bytes]:
    """Yields what follows `start` with it as `without_tokens` returns a whole body: a token may span several pieces.

    Closed, it closes the pieces.
    """
    # JSON's spelling of a character, the longest one, takes six.
    longest = max(map(len, hide)) * (6 if is_text else 1) + REST_OF_ESCAPE
    kept = without_tokens(start, hide=hide, is_text=is_text, goes_on=True)
    with closing(pieces):
        for piece in pieces:
            # What may be the beginning of a token waits for what follows.
            complete = max(len(kept) - longest + 1, 0)
            yield kept[:complete]
            kept = without_tokens(kept[complete:] + piece, hide=hide, is_text=is_text, goes_on=True)
        yield without_tokens(kept, hide=hide, is_text=is_text)


def canonical_id(value: Json) -> str | None:
    """Returns SnapInspect's number of a company, inspection or review in canonical digits; None if it is not one.

    Accepts a positive whole number of at most MAX_ID_DIGITS digits, as JSON number or string. 6847.0 is one, too: some
    languages know no whole numbers.
    """
    if isinstance(value, float) and value.is_integer() and value < 2**53:
        value = int(value)
    # bool is an int to Python.
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    match = _ID.fullmatch(text.strip())
    return match and match[1]


class _Cleaner:
    """Checks and copies a parsed answer, and replaces tokens in it."""

    def __init__(self, tokens: Collection[str], *, goes_on: bool = False) -> None:
        self._tokens, self._goes_on = tokens, goes_on

    def clean(self, value: Json, depth: int = 0) -> Json:
        # Recursion is bounded by MAX_DEPTH, far below what Python allows.
        if isinstance(value, str):
            return self._text(value)
        if not isinstance(value, dict | list):
            return value
        if depth >= MAX_DEPTH:
            raise ValueError
        if isinstance(value, list):
            return [self.clean(item, depth + 1) for item in value]
        return {self._text(key): self.clean(item, depth + 1) for key, item in value.items()}

    def _text(self, text: str) -> str:
        return self.clean_text(text if text.isascii() and "\0" not in text else repaired(text))

    def clean_text(self, text: str) -> str:
        for token in self._tokens:
            text = text.replace(token, HIDDEN)
        return self._spellings.sub(HIDDEN, text) if "%" in text or "\\" in text else text

    @cached_property
    def _spellings(self) -> re.Pattern[str]:
        """A token with any of its characters as it is, percent-encoded or escaped as in a JSON string."""
        tokens = "|".join("".join(map(_any_spelling, token)) for token in self._tokens)
        return re.compile(f"(?>{tokens})(?=.{{{REST_OF_ESCAPE}}})" if self._goes_on else tokens, re.DOTALL)


def _any_spelling(character: str) -> str:
    # The longer spelling first: a token that ends in "u" or "%" would match the first character of its escape alone.
    return rf"(?:(?:%|\\u00)(?i:{ord(character):02x})|\\?{re.escape(character)})"


def text_of(body: bytes) -> str:
    """Returns the text of UTF-8 or, where it begins like that, UTF-16 or UTF-32 (RFC 8259 section 8.1 wants UTF-8)."""
    return body.decode(json.detect_encoding(body), "replace").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")


def _no_number(constant: str) -> None:
    """NaN, Infinity and -Infinity are not JSON (RFC 8259 section 6)."""


def _finite(digits: str) -> float | None:
    """1e999 is JSON, but becomes infinity."""
    number = float(digits)
    return number if math.isfinite(number) else None

"""JSON from the remote, refused unless it is exactly JSON that every store of ours can hold.

Python's parser is more generous than RFC 8259: it takes NaN, lone surrogates and numbers of any length, which
PostgreSQL and our own pages choke on later. They are refused here, where the sender is still known.
"""

import json
import math
import re
from collections.abc import Iterable
from functools import cached_property
from typing import NoReturn

from integrations.snapinspect.errors import Garbled

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

DEEPEST = 100
LONGEST_INTEGER = 100
HIDDEN = "[token]"


def read(body: bytes, *, hide: str, hide_too: str = "") -> Json:
    """The JSON value in `body` (UTF-8, a byte order mark is tolerated), without these tokens in any spelling.

    hide: the token the request carried; hide_too: the refresh token beside it. An answer that echoes them (raw,
    percent-encoded, escaped as in JSON) must not carry them into our pages and rows. Raises Garbled.
    """
    value: Json = None
    problem = None
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse, parse_int=_integer, parse_float=_finite)
        return _Cleaner(token for token in (hide, hide_too) if token).clean(value)
    except UnicodeError:
        problem = "not_text"
    except (ValueError, RecursionError):
        problem = "not_json"
    # Raised out here, so that the parser's error, which quotes the answer, does not hang on as its context.
    raise Garbled(problem)


def readable(body: bytes, *, hide: str, hide_too: str = "") -> str:
    """Any body as text to look at: what is not UTF-8 stays visible as an escape, tokens are taken out as in `read`."""
    text = body.decode("utf-8-sig", "backslashreplace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return _Cleaner(token for token in (hide, hide_too) if token).clean_text(text)


class _Cleaner:
    """Checks and copies a parsed answer, tokens taken out of it."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = list(tokens)

    def clean(self, value: Json, depth: int = 0) -> Json:
        # Recursion is bounded by DEEPEST, far below what Python allows.
        if isinstance(value, str):
            return self._text(value)
        if not isinstance(value, dict | list):
            return value
        if depth >= DEEPEST:
            raise ValueError
        if isinstance(value, list):
            return [self.clean(item, depth + 1) for item in value]
        return {self._text(key): self.clean(item, depth + 1) for key, item in value.items()}

    def _text(self, text: str) -> str:
        if "\0" in text:
            raise UnicodeError
        if not text.isascii():
            text.encode()  # UnicodeError for a lone surrogate
        return self.clean_text(text)

    def clean_text(self, text: str) -> str:
        for token in self._tokens:
            text = text.replace(token, HIDDEN)
        return self._spellings.sub(HIDDEN, text) if "%" in text or "\\" in text else text

    @cached_property
    def _spellings(self) -> re.Pattern[str]:
        """A token with any of its characters as it is, percent-encoded or escaped as in a JSON string."""
        return re.compile("|".join("".join(map(_any_spelling, token)) for token in self._tokens))


def _any_spelling(character: str) -> str:
    return rf"(?:\\?{re.escape(character)}|(?:%|\\u00)(?i:{ord(character):02x}))"


def _refuse(constant: str) -> NoReturn:
    """NaN, Infinity and -Infinity are not JSON (RFC 8259 section 6)."""
    raise ValueError


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise ValueError
    return int(digits)


def _finite(digits: str) -> float:
    """1e999 is JSON, but becomes infinity."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError
    return number

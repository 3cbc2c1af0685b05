"""Parses JSON from SnapInspect, and removes tokens from it.

Python's parser accepts more than RFC 8259: NaN, lone surrogates and numbers of any length, which PostgreSQL cannot
store. They are refused here.
"""

import json
import math
import re
from collections.abc import Collection
from functools import cached_property
from typing import NoReturn

from integrations.snapinspect.errors import Garbled

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

MAX_DEPTH = 100
MAX_DIGITS = 100
HIDDEN = "[token]"
MAX_ID_DIGITS = 20
_ID = re.compile(rf"0{{0,{MAX_ID_DIGITS}}}([1-9][0-9]{{0,{MAX_ID_DIGITS - 1}}})")


def parse(body: bytes, *, hide: Collection[str]) -> Json:
    """Returns the JSON value in `body` (UTF-8, with or without a byte order mark). Raises Garbled.

    hide: tokens that are replaced in it, also where they are percent-encoded or escaped as in JSON, so that an answer
    which echoes them cannot carry them into pages and rows.
    """
    value: Json = None
    problem = None
    try:
        value = json.loads(
            body.decode("utf-8-sig"), parse_constant=refuse_constant, parse_int=_integer, parse_float=_finite
        )
        return _Cleaner(hide).clean(value)
    except UnicodeError:
        problem = "not_text"
    except (ValueError, RecursionError):
        problem = "not_json"
    # Raised outside the except block: the parser's error quotes the answer, and would be the context.
    raise Garbled(problem)


def readable_text(body: bytes, *, hide: Collection[str]) -> str:
    """Returns any body as text: bytes that are not UTF-8 become escapes, tokens are replaced as in `parse`."""
    text = body.decode("utf-8-sig", "backslashreplace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return _Cleaner(hide).clean_text(text)


def canonical_id(value: Json) -> str | None:
    """Returns SnapInspect's number of a company, inspection or review in canonical digits; None if it is not one.

    Accepts a positive whole number of at most MAX_ID_DIGITS digits, as JSON number or string.
    """
    # bool is an int to Python; 1.0 is not a spelling of an ID.
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    match = _ID.fullmatch(text.strip()) if text.isascii() else None
    return match and match[1]


class _Cleaner:
    """Checks and copies a parsed answer, and replaces tokens in it."""

    def __init__(self, tokens: Collection[str]) -> None:
        self._tokens = tokens

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


def refuse_constant(constant: str) -> NoReturn:
    """NaN, Infinity and -Infinity are not JSON (RFC 8259 section 6)."""
    raise ValueError


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError
    return int(digits)


def _finite(digits: str) -> float:
    """1e999 is JSON, but becomes infinity."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError
    return number

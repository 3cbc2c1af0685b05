"""Refuses JSON that is nested too deeply, before it is parsed.

Python's parser goes as deep as the text does, until no stack is left. A finalizer that the garbage collector runs there
has none either: it fails, and what it should have released stays taken.
"""

import json
from array import array
from itertools import accumulate
from typing import Any, Final

# Python's limit is 1000 levels; callers of a parser and finalizers have the others.
MOST_NESTED: Final = 600
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: 1 and -1
_REST = bytes(set(range(256)) - set(b'[{]}"'))


class TooDeep(Exception):
    """JSON with more levels than MOST_NESTED."""


def loads(text: str, **options: Any) -> Any:
    """What `json.loads` returns. Raises ValueError as it does, and TooDeep."""
    check(text)
    return json.loads(text, **options)


def check(text: str) -> None:
    """Raises TooDeep if a parser could meet more than MOST_NESTED levels in this text."""
    if text.count("[") + text.count("{") <= MOST_NESTED:
        return
    without_escapes = text.encode(errors="replace").replace(rb"\\", b"").replace(rb"\"", b"")
    # Two quotes side by side begin and end nothing that holds brackets. At any other one a string begins or ends.
    pieces = without_escapes.translate(_STEPS, _REST).replace(b'""', b"").split(b'"')
    # Behind a mistake, such as a string without end, the count may be wrong: no parser gets there.
    brackets = b"".join(pieces[::2])
    # The deepest level of JSON is always such a pair. Without them, few brackets are left to add up.
    outer = brackets.replace(b"\x01\xff", b"")
    if max(accumulate(array("b", outer)), default=0) >= MOST_NESTED:
        raise TooDeep

"""Formats JSON that came from outside for pages: indented, cut off, without control characters.

Indentation can make a hundred megabytes of one, so the text is made piece by piece and stops at its limit. Half a
character pair (a lone surrogate) cannot be written as UTF-8, and control characters show nothing: each becomes U+FFFD.
"""

import json
import re

from integrations.snapinspect import json_depth
from integrations.snapinspect.json_answers import Json

CUT = "\n… (cut)"
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def laid_out(value: Json, *, most: int) -> tuple[str, bool]:
    """The value as indented JSON, and whether it was cut after `most` characters. It has MOST_NESTED levels at most."""
    pieces: list[str] = []
    length = 0
    for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
        pieces.append(piece)
        length += len(piece)
        if length > most:
            break
    return printable("".join(pieces)[:most]), length > most


def text_laid_out(text: str, *, most: int) -> str:
    """JSON in a text laid out like a value; any other text as it is. Ends with a note when it was cut."""
    try:
        shown, is_cut = laid_out(json_depth.loads(text), most=most)
    except (ValueError, json_depth.TooDeep):
        shown, is_cut = printable(text[:most]), len(text) > most
    return shown + CUT if is_cut else shown


def printable(text: str) -> str:
    """The text with U+FFFD for what cannot be written as UTF-8, or shows nothing."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)

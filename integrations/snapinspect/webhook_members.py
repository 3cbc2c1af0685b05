"""Reads the documented members of an object in a webhook: under other names and in other spellings, too."""

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache
from typing import Final

from integrations.snapinspect.json_answers import Json, canonical_id
from integrations.snapinspect.webhook_text import bare

LONGEST_TYPE: Final = 100
# The documented names, and the spellings without case and separators under which they are read as well.
SPELLINGS: Final = {
    "sType": ("stype", "type", "eventtype", "seventtype"),
    "iInspectionID": ("iinspectionid", "inspectionid"),
    "iInsReviewID": ("iinsreviewid", "insreviewid", "ireviewid", "reviewid"),
    "iCompanyID": ("icompanyid", "companyid"),
}
NAME_OF = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings}
# Objects that may have their number as a member "id".
_OBJECTS = {
    "company": "iCompanyID",
    "inspection": "iInspectionID",
    "insreview": "iInsReviewID",
    "review": "iInsReviewID",
}
_LONGEST_NAME = 40
# In place of an ID: there is none. 0 is what .NET writes for a number that was never set.
_NO_ID = re.compile(r"|-?0+(?:\.0*)?|-1(?:\.0*)?")
_NO_ID_IN_WORDS = re.compile(r"n/?a|none|null|nil|undefined|-", re.IGNORECASE)
# Shows nothing, but belongs to the spelling of some languages and of emoji.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
BLANK = " \t\r\n\v\f\0\x1a\x1e\N{ZERO WIDTH NO-BREAK SPACE}"
_NUMBER = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?")
# 6,847 and 6 847
_GROUPED = re.compile(r"[0-9]{1,3}(?:([,' \N{RIGHT SINGLE QUOTATION MARK}])[0-9]{3})(?:\1[0-9]{3})*")


def number_text(digits: str) -> str:
    """The number as text, a whole one as digits: 6.847e3 and 6847.0 are 6847."""
    if _NUMBER.fullmatch(digits) and (number := Decimal(digits)) == number.to_integral_value():
        return str(int(number))
    return digits


def members_of(document: dict[str, Json]) -> dict[str, list[Json]]:
    """The values of the documented members: under their own name first, then under other spellings."""
    members: dict[str, list[Json]] = {}
    for key, value in document.items():
        if key in SPELLINGS:
            members.setdefault(key, []).insert(0, value)
        elif name := name_of(key):
            members.setdefault(name, []).append(value)
        elif isinstance(value, dict) and len(key) <= _LONGEST_NAME and (name := _OBJECTS.get(bare(key), "")):
            for inner, number in value.items():
                if bare(inner[:_LONGEST_NAME]) == "id":
                    members.setdefault(name, []).append(number)
    return members


def name_of(key: str) -> str:
    """The documented name that this is a spelling of; empty if it is none."""
    return _short_name_of(key) if len(key) <= _LONGEST_NAME else ""


@lru_cache(maxsize=1000)
def _short_name_of(key: str) -> str:
    return NAME_OF.get(bare(key), "")


def id_in(members: dict[str, list[Json]], name: str) -> tuple[str, bool]:
    """The ID in canonical digits, empty if there is none; and whether there is something that cannot be read."""
    is_odd = False
    for value in members.get(name, ()):
        if found := canonical_id(_number_in(value) if isinstance(value, str) else value):
            return found, False
        is_odd = is_odd or not _says_none(value, in_words=name != "iCompanyID")
    return "", is_odd


def _number_in(text: str) -> str:
    """The number that a text holds in another spelling; any other text as it is."""
    if text.isdecimal() and text.isascii():
        return text
    plain = unicodedata.normalize("NFKC", text[: 2 * _LONGEST_NAME])
    plain = "".join(character for character in plain if unicodedata.category(character) != "Cf").strip(BLANK + "\"'")
    return re.sub("[^0-9]", "", plain) if _GROUPED.fullmatch(plain) else number_text(plain)


def _says_none(value: Json, *, in_words: bool) -> bool:
    """Whether this stands for no ID. in_words: also "n/a" and the like, which leave a company unknown."""
    if isinstance(value, str):
        text = value.strip()
        return bool(_NO_ID.fullmatch(text) or (in_words and _NO_ID_IN_WORDS.fullmatch(text)))
    return value is None or (value is False and in_words)


def type_in(members: dict[str, list[Json]]) -> tuple[str, bool]:
    """The type, on one line and cut to LONGEST_TYPE, empty if there is none; and whether it cannot be read."""
    is_odd = False
    for value in members.get("sType", ()):
        if isinstance(value, dict | list):
            is_odd = True
        elif value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            line = " ".join(text[: 2 * LONGEST_TYPE].split())[:LONGEST_TYPE]
            if not line.isprintable():
                line = "".join(map(_shown, line))
            return line.strip(), False
    return "", is_odd


def _shown(character: str) -> str:
    return character if character.isprintable() or character in _JOINERS else "\N{REPLACEMENT CHARACTER}"

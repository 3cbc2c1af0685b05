"""Reads webhooks' bodies.

Vendor page, "WebHook": JSON with the inspection ID and the internal company ID; a later edition adds `sType`,
`iInsReviewID` and `sStatus`. There is no signature: a body is a hint until the API has confirmed it.

A message that is misread is lost, so whatever names a company is read: other spellings of names and numbers, a list of
events, a form with the JSON in a field, gzip, another encoding. What else is odd stays empty. Size, depth and number
are limited.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count, islice
from typing import Final
from urllib.parse import parse_qsl

from integrations.snapinspect.json_answers import MAX_ID_DIGITS, Json, canonical_id, text_of

LONGEST_TYPE: Final = 100
# Of a compressed body; an uncompressed one is limited where it comes in.
MOST_BYTES: Final = 1024 * 1024
MOST_EVENTS: Final = 1000
# In which events are looked for: about a tenth of a second.
MOST_OBJECTS: Final = 10_000
_MOST_FIELDS = 100
# Levels below which no event is looked for.
_DEEPEST = 20
# Members that may hold a JSON document as text.
_ENVELOPES = frozenset({"payload", "data", "body", "json", "event", "events", "message"})
# The documented names, and the spellings without case and separators under which they are read as well.
_SPELLINGS: Final = {
    "sType": ("stype", "type", "eventtype", "seventtype"),
    "iInspectionID": ("iinspectionid", "inspectionid"),
    "iInsReviewID": ("iinsreviewid", "insreviewid", "ireviewid", "reviewid"),
    "iCompanyID": ("icompanyid", "companyid"),
}
_NAME_OF = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
_LONGEST_NAME = 40
# In place of an ID: there is none. 0 is what .NET writes for a number that was never set.
_NO_ID = re.compile(r"|-?0+(?:\.0*)?|-1(?:\.0*)?")
_NO_ID_IN_WORDS = re.compile(r"n/?a|none|null|nil|undefined|-", re.IGNORECASE)
# Shows nothing, but belongs to the spelling of some languages and of emoji.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_BLANK = " \t\r\n\v\f\0\x1a\x1e\N{ZERO WIDTH NO-BREAK SPACE}"
_NUMBER = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?")
_SEPARATOR = re.compile(rf"[{_BLANK},;]*")
_FIELD_NAME = re.compile(r"""\bname="?([^";\r\n]+)""")

# Why a body cannot be read, or which part of it.
PROBLEMS: Final = {
    "empty": "The body is empty.",
    "not_text": "The body is compressed, but broken.",
    "too_large": f"The body is compressed, and larger than {MOST_BYTES // 1024} KiB.",
    "not_json": "The body is neither JSON nor a form.",
    "too_deep": "The body is nested too deeply to be read.",
    "too_many_events": f"The body holds more than {MOST_EVENTS} events, or {MOST_OBJECTS} objects.",
    "not_object": "The body is JSON, but holds no object.",
    "bad_type": "sType is not a text.",
    "bad_inspection_id": f"iInspectionID is not a positive whole number of at most {MAX_ID_DIGITS} digits.",
    "bad_review_id": f"iInsReviewID is not a positive whole number of at most {MAX_ID_DIGITS} digits.",
    "bad_company_id": f"iCompanyID is not a positive whole number of at most {MAX_ID_DIGITS} digits.",
}


class Unreadable(ValueError):
    """A body that tells of no event. `problem` is a key of PROBLEMS."""

    def __init__(self, problem: str) -> None:
        super().__init__(PROBLEMS[problem])
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Hint:
    """What a body says about one event. Empty where it says nothing readable; IDs are canonical digits.

    problem: the first part that could not be read, a key of PROBLEMS. source: the part of the body about this event as
    JSON, where the body is about several.
    """

    type: str = ""
    inspection_id: str = ""
    review_id: str = ""
    company_id: str = ""
    problem: str = ""
    source: str = ""


NOTHING: Final = Hint()


def _number_text(digits: str) -> str:
    """The number as text, a whole one as digits: 6.847e3 and 6847.0 are 6847."""
    if _NUMBER.fullmatch(digits) and (number := Decimal(digits)) == number.to_integral_value():
        return str(int(number))
    return digits


# Numbers as their text: no digit is lost, and none costs time. NaN and Infinity are no numbers.
_JSON = json.JSONDecoder(strict=False, parse_int=str, parse_float=_number_text, parse_constant=lambda constant: None)


def read(body: bytes) -> list[Hint]:
    """Returns a hint for each event in a webhook's body, at least one. Accepts unknown types and members.

    An event is an object with an inspection ID, or else with a company ID; what it does not say itself is taken from
    the objects around it. Raises Unreadable.
    """
    text = _text(body)
    problem = ""
    try:
        documents = _values(text)
        found = _found(documents or [_form(text)])
        if len(found) > MOST_EVENTS:
            problem = "too_many_events"
        elif len(found) > 1:
            return [replace(hint or NOTHING, source=_source(value, hint)) for value, hint in found]
        elif not documents and found[0][1] == NOTHING:
            problem = "not_json"
        elif not found or found[0][1] is None:
            problem = "not_object"
        else:
            return [found[0][1]]
    except RecursionError:
        problem = "too_deep"
    # Raised outside the except block: the parser's error quotes the body.
    raise Unreadable(problem)


def readable_text(body: bytes) -> str:
    """Returns a webhook's body for people: decompressed, and bytes that are no text as escapes."""
    try:
        body = _decompressed(body)
        return body.decode(json.detect_encoding(body))
    except (Unreadable, UnicodeError):
        return body.decode("utf-8-sig", "backslashreplace")


def _text(body: bytes) -> str:
    text = text_of(_decompressed(body)).strip(_BLANK)
    if not text:
        raise Unreadable("empty")
    return text


def _decompressed(body: bytes) -> bytes:
    """The body without gzip or zlib compression, which its first bytes show (RFC 1952 and 1950)."""
    if not body.startswith((b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")):
        return body
    reader = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = reader.decompress(body, MOST_BYTES + 1)
    except zlib.error:
        plain = b""
    if len(plain) > MOST_BYTES:
        raise Unreadable("too_large")
    if not plain:
        raise Unreadable("not_text")
    return plain


def _values(text: str) -> list[Json]:
    """The JSON values in the text, one after the other; empty if it does not begin with one. Raises RecursionError."""
    values: list[Json] = []
    position = 0
    while position < len(text):
        try:
            value, position = _JSON.raw_decode(text, position)
        except ValueError:
            break
        values.append(value)
        separator = _SEPARATOR.match(text, position)
        position = separator.end() if separator else position
    return values


def _form(text: str) -> dict[str, Json]:
    """The fields of a urlencoded or multipart form (WHATWG URL, RFC 7578), JSON in them parsed; empty if it is none."""
    fields: dict[str, str] = {}
    if text.startswith("--"):
        boundary = text.split("\n", 1)[0].strip()
        for part in text.replace("\r\n", "\n").split(boundary, _MOST_FIELDS)[1:]:
            head, _, content = part.partition("\n\n")
            if name := _FIELD_NAME.search(head):
                fields[name[1]] = content.strip()
    elif "=" in text and text[0] not in "{[<" and text.count("&") < _MOST_FIELDS:
        fields = dict(parse_qsl(text, keep_blank_values=True))
    return {name: _document(value) or value for name, value in fields.items()}


def _document(text: str) -> list[Json]:
    """The JSON objects or lists in a text; empty if it holds none."""
    text = text.strip(_BLANK)
    return _values(text) if text.startswith(("{", "[")) else []


def _found(documents: list[Json]) -> list[tuple[Json, Hint | None]]:
    """The events in these documents, and what they say; each item of a list is one at least, None for no object.

    More than MOST_EVENTS where there are too many to look at all.
    """
    found: list[tuple[Json, Hint | None]] = []
    objects = count(1)
    items = (item for document in documents for item in (document if isinstance(document, list) else [document]))
    for item in items:
        before = len(found)
        found += islice(_events(item, NOTHING, 0, objects), MOST_EVENTS + 1)
        if len(found) == before:
            found.append((item, _said_by(_members(item)) if isinstance(item, dict) else None))
        if len(found) > MOST_EVENTS or next(objects) > MOST_OBJECTS:
            return found * (MOST_EVENTS + 1)
    return found


def _events(value: Json, around: Hint, depth: int, objects: "count[int]") -> Iterator[tuple[dict[str, Json], Hint]]:
    """Yields the objects that are events, and what they say.

    around: what the objects around this value say. objects: counts those that were looked at.
    """
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for item in value:
            yield from _events(item, around, depth + 1, objects)
    if not isinstance(value, dict) or next(objects) > MOST_OBJECTS:
        return
    members = _members(value)
    said = _said_by(members)
    hint = said if around == NOTHING else _completed(said, around)
    if said.inspection_id or ("iInspectionID" in members and hint.company_id):
        yield value, hint if hint.company_id else replace(hint, company_id=_company_below(value))
        return
    is_last = True
    for name, inner in value.items():
        below = _document(inner) if isinstance(inner, str) and _bare(name) in _ENVELOPES else inner
        for event in _events(below, hint, depth + 1, objects):
            is_last = False
            yield event
    if is_last and said.company_id and not around.company_id:
        yield value, hint


def _company_below(document: dict[str, Json]) -> str:
    """The first company that something in this object names, the outermost first."""
    level: list[Json] = list(document.values())
    for _ in range(_DEEPEST):
        below: list[Json] = []
        for value in level:
            if isinstance(value, dict):
                if company := _id(_members(value), "iCompanyID")[0]:
                    return company
                below += value.values()
            elif isinstance(value, list):
                below += value
        level = below
    return ""


def _members(document: dict[str, Json]) -> dict[str, list[Json]]:
    """The values of the documented members: under their own name first, then under other spellings."""
    members: dict[str, list[Json]] = {}
    for key, value in document.items():
        if key in _SPELLINGS:
            members.setdefault(key, []).insert(0, value)
        elif len(key) <= _LONGEST_NAME and (name := _NAME_OF.get(_bare(key))):
            members.setdefault(name, []).append(value)
    return members


def _said_by(members: dict[str, list[Json]]) -> Hint:
    """What these members of an object say, whatever stands around it."""
    if not members:
        return NOTHING
    company_id, bad_company_id = _id(members, "iCompanyID")
    inspection_id, bad_inspection_id = _id(members, "iInspectionID")
    review_id, bad_review_id = _id(members, "iInsReviewID")
    type_, bad_type = _type(members)
    problems = {
        "bad_company_id": bad_company_id,
        "bad_inspection_id": bad_inspection_id,
        "bad_review_id": bad_review_id,
        "bad_type": bad_type,
    }
    problem = next((problem for problem, is_one in problems.items() if is_one), "")
    return Hint(type_, inspection_id, review_id, company_id, problem)


def _completed(said: Hint, around: Hint) -> Hint:
    """The hint, with what it does not say itself from the objects around it."""
    return replace(
        said,
        type=said.type or around.type,
        inspection_id=said.inspection_id or around.inspection_id,
        review_id=said.review_id or around.review_id,
        company_id=said.company_id or around.company_id,
    )


def _id(members: dict[str, list[Json]], name: str) -> tuple[str, bool]:
    """The ID in canonical digits, empty if there is none; and whether there is something that cannot be read."""
    is_odd = False
    for value in members.get(name, ()):
        if found := canonical_id(value):
            return found, False
        is_odd = is_odd or not _says_none(value, in_words=name != "iCompanyID")
    return "", is_odd


def _says_none(value: Json, *, in_words: bool) -> bool:
    """Whether this stands for no ID. in_words: also "n/a" and the like, which leave a company unknown."""
    if isinstance(value, str):
        text = value.strip()
        return bool(_NO_ID.fullmatch(text) or (in_words and _NO_ID_IN_WORDS.fullmatch(text)))
    return value is None or (value is False and in_words)


def _type(members: dict[str, list[Json]]) -> tuple[str, bool]:
    """The type, on one line and cut to LONGEST_TYPE, empty if there is none; and whether it cannot be read."""
    is_odd = False
    for value in members.get("sType", ()):
        if isinstance(value, dict | list):
            is_odd = True
        elif value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            line = " ".join(text[: 2 * LONGEST_TYPE].split())
            return "".join(_shown(character) for character in line[:LONGEST_TYPE]).strip(), False
    return "", is_odd


def _shown(character: str) -> str:
    return character if character.isprintable() or character in _JOINERS else "\N{REPLACEMENT CHARACTER}"


def _source(value: Json, hint: Hint | None) -> str:
    """The value as JSON, with what only the objects around it say."""
    if hint is not None and isinstance(value, dict):
        said = (hint.type, hint.inspection_id, hint.review_id, hint.company_id)
        value = value | {name: text for name, text in zip(_SPELLINGS, said, strict=True) if text}
    return json.dumps(value)


def _bare(name: str) -> str:
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()

"""Reads webhooks' bodies.

Vendor page, "WebHook": JSON with the inspection ID and the internal company ID; a later edition adds `sType`,
`iInsReviewID` and `sStatus`. There is no signature: a body is a hint until the API has confirmed it.

A message that is misread is lost, so whatever names a company is read: other spellings of names and numbers, a list of
events, a form with the JSON in a field, gzip, another encoding, JSON with a mistake in it (see `webhook_text`). What
else is odd stays empty. Size, depth and number are limited.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Final

from integrations.snapinspect import json_depth
from integrations.snapinspect.json_answers import MAX_ID_DIGITS, Json, text_of
from integrations.snapinspect.webhook_members import (
    BLANK,
    NAME_OF,
    SPELLINGS,
    id_in,
    members_of,
    number_text,
    type_in,
)
from integrations.snapinspect.webhook_text import Form, form_fields, named_values

# Of a compressed body; an uncompressed one is limited where it comes in.
MOST_BYTES: Final = 1024 * 1024
MOST_EVENTS: Final = 1000
# In which events are looked for: about a tenth of a second.
MOST_OBJECTS: Final = 10_000
# Levels below which no event is looked for.
_DEEPEST = 20
# How often a body may be compressed.
_MOST_LAYERS = 3
_COMPRESSED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_SEPARATOR = re.compile(rf"[{BLANK},;]*")

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


def _merged(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """The members of an object; of several of one name the last one that is not empty."""
    found: dict[str, Json] = {}
    for name, value in pairs:
        if name not in found or value not in (None, ""):
            found[name] = value
    return found


# Numbers as their text: no digit is lost, and none costs time. NaN and Infinity are no numbers.
_JSON = json.JSONDecoder(
    strict=False,
    parse_int=str,
    parse_float=number_text,
    parse_constant=lambda constant: None,
    object_pairs_hook=_merged,
)


def read(body: bytes) -> list[Hint]:
    """Returns a hint for each event in a webhook's body, at least one. Accepts unknown types and members.

    An event is an object with an inspection ID, or else with a company ID; what it does not say itself is taken from
    the objects around it. Raises Unreadable.
    """
    text = _text(body)
    try:
        documents, unread = _values(text), "not_json"
    except json_depth.TooDeep:
        documents, unread = [], "too_deep"
    found = _found(documents or [_opened_form(form_fields(text))])
    if not documents and not any(hint and hint.company_id for _, hint in found):
        found = _named_in(text, unread) or found
    if len(found) > 1:
        return [replace(hint or NOTHING, source=_source(value, hint)) for value, hint in found]
    if not documents and found[0][1] == NOTHING:
        raise Unreadable(unread)
    if not found or found[0][1] is None:
        raise Unreadable("not_object")
    return [found[0][1]]


def _named_in(text: str, unread: str) -> list[tuple[Json, Hint | None]]:
    """The events in a text that is neither JSON nor a form; empty if it names no company. unread: what is wrong."""
    found = _found(
        [{str(number): dict[str, Json](values) for number, values in enumerate(named_values(text, NAME_OF))}]
    )
    hints = [(value, hint) for value, hint in found if hint and hint.company_id]
    return [(value, replace(hint, problem=hint.problem or unread)) for value, hint in hints]


def readable_text(body: bytes) -> str:
    """Returns a webhook's body for people: decompressed, and bytes that are no text as escapes."""
    try:
        body = _decompressed(body)
        return body.decode(json.detect_encoding(body))
    except (Unreadable, UnicodeError):
        return body.decode("utf-8-sig", "backslashreplace")


def _text(body: bytes) -> str:
    text = text_of(_decompressed(body)).strip(BLANK)
    if not text:
        raise Unreadable("empty")
    return text


def _decompressed(body: bytes) -> bytes:
    """The body without gzip or zlib compression, which its first bytes show (RFC 1952 and 1950)."""
    for _ in range(_MOST_LAYERS):
        if not body.startswith(_COMPRESSED):
            break
        body = _without_layer(body)
    return body


def _without_layer(body: bytes) -> bytes:
    plain = b""
    while body.startswith(_COMPRESSED) and len(plain) <= MOST_BYTES:
        reader = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            plain += reader.decompress(body, MOST_BYTES + 1 - len(plain))
        except zlib.error:
            break
        body = reader.unused_data  # gzip may have several members
    if len(plain) > MOST_BYTES:
        raise Unreadable("too_large")
    if not plain:
        raise Unreadable("not_text")
    return plain


def _values(text: str) -> list[Json]:
    """The JSON values in the text, one after the other; empty if it does not begin with one. Raises TooDeep."""
    json_depth.check(text)
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


def _opened(value: Json) -> Json:
    """The JSON objects or lists in a text; any other value as it is."""
    if not isinstance(value, str) or not (text := value.strip(BLANK)).startswith(("{", "[")):
        return value
    try:
        return _values(text) or value
    except json_depth.TooDeep:
        return value


def _opened_form(fields: Form) -> dict[str, Json]:
    return {name: _opened_form(value) if isinstance(value, dict) else _opened(value) for name, value in fields.items()}


def _found(documents: list[Json]) -> list[tuple[Json, Hint | None]]:
    """The events in these documents, and what they say; each item of a list is one at least, None for no object.

    Raises Unreadable when there are too many.
    """
    found: list[tuple[Json, Hint | None]] = []
    objects = count(1)
    opened = map(_opened, documents)
    items = (item for document in opened for item in (document if isinstance(document, list) else [document]))
    for item in map(_opened, items):
        events = _with_their_company(list(islice(_events(item, NOTHING, 0, objects), MOST_EVENTS + 1)))
        found += events
        if not events:
            found.append((item, _said_by(members_of(item)) if isinstance(item, dict) else None))
        if len(found) > MOST_EVENTS or next(objects) > MOST_OBJECTS:
            raise Unreadable("too_many_events")
    return found


def _with_their_company(events: list[tuple[Json, Hint | None]]) -> list[tuple[Json, Hint | None]]:
    """The events of one object; those without a company belong to the one that stands beside them, if it is one."""
    companies = {hint.company_id for _, hint in events if hint and not hint.inspection_id} - {""}
    if len(companies) != 1 or all(hint and hint.company_id for _, hint in events):
        return events
    (company,) = companies
    return [
        (value, replace(hint, company_id=hint.company_id or company))
        for value, hint in events
        if hint and hint.inspection_id
    ]


def _events(value: Json, around: Hint, depth: int, objects: "count[int]") -> Iterator[tuple[dict[str, Json], Hint]]:
    """Yields the objects that are events, and what they say.

    around: what the objects around this value say. objects: counts those that were looked at.
    """
    if depth > _DEEPEST:
        return
    value = _opened(value)
    if isinstance(value, list):
        for item in value:
            yield from _events(item, around, depth + 1, objects)
    if not isinstance(value, dict) or next(objects) > MOST_OBJECTS:
        return
    members = members_of(value)
    said = _said_by(members)
    hint = said if around == NOTHING else _completed(said, around)
    if said.inspection_id or ("iInspectionID" in members and hint.company_id):
        yield value, hint if hint.company_id else replace(hint, company_id=_company_below(value))
        return
    is_last = True
    for inner in value.values():
        for event in _events(inner, hint, depth + 1, objects):
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
                if company := id_in(members_of(value), "iCompanyID")[0]:
                    return company
                below += value.values()
            elif isinstance(value, list):
                below += value
        level = below
    return ""


def _said_by(members: dict[str, list[Json]]) -> Hint:
    """What these members of an object say, whatever stands around it."""
    if not members:
        return NOTHING
    company_id, bad_company_id = id_in(members, "iCompanyID")
    inspection_id, bad_inspection_id = id_in(members, "iInspectionID")
    review_id, bad_review_id = id_in(members, "iInsReviewID")
    type_, bad_type = type_in(members)
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


def _source(value: Json, hint: Hint | None) -> str:
    """The value as JSON, with what only the objects around it say."""
    if hint is not None and isinstance(value, dict):
        said = (hint.type, hint.inspection_id, hint.review_id, hint.company_id)
        value = value | {name: text for name, text in zip(SPELLINGS, said, strict=True) if text}
    return json.dumps(value)

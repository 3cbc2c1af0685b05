"""Reads webhooks' bodies, and the content of inspections.

Vendor page, "WebHook": JSON with the inspection ID and the internal company ID; a later edition adds `sType`,
`iInsReviewID` and `sStatus`. There is no signature: a body is a hint until the API has confirmed it.

Strict only about what it needs: a body is read when it is an object whose company can be told or is absent, whatever
else is odd about it. Compressed bodies, forms and lists of events are not documented; they are understood, too.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from itertools import islice
from typing import Final, cast
from urllib.parse import parse_qsl

from integrations.snapinspect.json_answers import MAX_ID_DIGITS, Json, canonical_id, read_leniently, repaired

LONGEST_TYPE: Final = 100
MOST_EVENTS: Final = 1000
# After decompression.
_MOST_BYTES = 1024 * 1024
_MAX_DIGITS = 400
_GZIP = b"\x1f\x8b"
_MOST_FIELDS = 100
# Spellings, without type prefix, case and separators, under which a record may say when it was last changed.
_CHANGED = ("updated", "updatedat", "lastupdated", "modified", "modifiedat", "lastmodified", "dateupdated", "changedat")

PROBLEMS: Final = {
    "empty": "The body is empty.",
    "too_large": "The body is compressed, and too large to be opened.",
    "not_json": "The body is not JSON.",
    "too_deep": "The body is nested too deeply to be read.",
    "not_object": "The body is JSON, but not an object.",
    "too_many": f"The body holds more than {MOST_EVENTS} events.",
    "bad_company_id": f"iCompanyID is not a positive whole number of at most {MAX_ID_DIGITS} digits.",
}


class Unreadable(ValueError):
    """A body that is not what SnapInspect documents. `problem` is a key of PROBLEMS."""

    def __init__(self, problem: str) -> None:
        super().__init__(PROBLEMS[problem])
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Hint:
    """What a body says. Empty where it says nothing, or nothing that can be read; IDs are canonical digits."""

    type: str = ""
    inspection_id: str = ""
    review_id: str = ""
    company_id: str = ""


def read(body: bytes) -> list[Json]:
    """Returns the events that a body announces, each as its JSON value. Raises Unreadable."""
    raw = _opened(body)
    if not raw.strip(b" \t\r\n\0"):
        raise Unreadable("empty")
    document, problem = _parsed(raw)
    if problem:
        document = _form(raw)
        if document is None:
            # Raised here and not where it was found: the parser's error quotes the body.
            raise Unreadable(problem)
    if isinstance(document, dict) and _member(document, "iCompanyID") is None:
        document = _wrapped(document) or document
    if not isinstance(document, list) or not document:
        return [document]
    if len(document) > MOST_EVENTS:
        raise Unreadable("too_many")
    return document


def hint(event: Json, *, is_addressed: bool = False) -> Hint:
    """Returns what an event says.

    is_addressed: it came to a connection's own address, so the company need not be told. Raises Unreadable when it is
    no object, or names a company that cannot be read.
    """
    if not isinstance(event, dict):
        raise Unreadable("not_object")
    company = _member(event, "iCompanyID")
    found = canonical_id(company) or ""
    if not (found or is_addressed or company is None or company == "" or _is_nothing(company)):
        raise Unreadable("bad_company_id")
    return Hint(
        type=_type(_member(event, "sType")),
        inspection_id=canonical_id(_member(event, "iInspectionID")) or "",
        review_id=canonical_id(_member(event, "iInsReviewID")) or "",
        company_id=found,
    )


def canonical(content: Json) -> tuple[str, str]:
    """Returns canonical JSON of the content, whatever the order of its members, and its SHA-256."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return text, hashlib.sha256(text.encode()).hexdigest()


def company_of(content: Json) -> str:
    """Returns the company that an inspection's content names; empty if it names none, or not by a valid ID."""
    return (canonical_id(content.get("iCompanyID")) or "") if isinstance(content, dict) else ""


def changed_at(content: Json) -> datetime | None:
    """Returns when the record says it was last changed; None if it does not, or not in ISO 8601."""
    if not isinstance(content, dict):
        return None
    plain = {_plain(key): value for key, value in content.items()}
    for name in _CHANGED:
        value = plain.get(name)
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                continue
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def inspection_ids(page: Json) -> list[str]:
    """Returns the inspection IDs on one page of a listing, in its order, at any depth."""
    return list(dict.fromkeys(_inspections(page)))


def next_link(page: Json) -> str:
    """Returns the address of the next page; empty on the last one."""
    link = page.get("next") if isinstance(page, dict) else None
    return link if isinstance(link, str) else ""


def _inspections(value: Json) -> Iterator[str]:
    """Yields IDs from a loop: no depth exhausts the stack."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict) and "iInspectionID" in item:
            if number := canonical_id(item["iInspectionID"]):
                yield number
        elif isinstance(item, dict):
            waiting += reversed(item.values())
        elif isinstance(item, list):
            waiting += reversed(item)


def _opened(body: bytes) -> bytes:
    """Returns the body, decompressed if it is gzip. Raises Unreadable for more than _MOST_BYTES."""
    if not body.startswith(_GZIP):
        return body
    inflated = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        opened = inflated.decompress(body, _MOST_BYTES)
    except zlib.error:
        return body
    if inflated.unconsumed_tail:
        raise Unreadable("too_large")
    return opened


def _parsed(raw: bytes) -> tuple[Json, str]:
    """Returns the JSON value, or the problem with it."""
    try:
        return read_leniently(raw, parse_int=_integer), ""
    except RecursionError:
        return None, "too_deep"
    except ValueError:
        return None, "not_json"


def _integer(digits: str) -> Json:
    return int(digits) if len(digits) <= _MAX_DIGITS else None


def _form(raw: bytes) -> Json:
    """Returns what a form posted: the value of the field that holds JSON, else its fields. None for no form."""
    if raw.startswith(b"--"):
        boundary = raw.partition(b"\n")[0].strip()[2:]
        form = message_from_bytes(b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\n\r\n" + raw)
        fields = [
            (str(part.get_param("name", "", "Content-Disposition")), cast(bytes, part.get_payload(decode=True)) or b"")
            for part in islice(form.walk(), _MOST_FIELDS)
            if not part.is_multipart()
        ]
    else:
        try:
            found = parse_qsl(raw.decode("latin-1"), encoding="latin-1", max_num_fields=_MOST_FIELDS)
        except ValueError:
            return None
        fields = [(name, value.encode("latin-1", "replace")) for name, value in found]
    for _, value in fields:
        document, problem = _parsed(value)
        if not problem and isinstance(document, dict | list):
            return document
    plain: Json = {name: value.decode("utf-8", "replace") for name, value in fields}
    return plain if isinstance(plain, dict) and _member(plain, "iCompanyID") is not None else None


def _wrapped(document: dict[str, Json]) -> Json:
    """Returns the event, or list of events, that a member of an object without a company holds; else None."""
    for value in document.values():
        inner = _parsed(value.encode("utf-8", "replace"))[0] if isinstance(value, str) and value[:1] in "{[" else value
        for event in inner if isinstance(inner, list) else [inner]:
            if isinstance(event, dict) and _member(event, "iCompanyID") is not None:
                return inner
    return None


def _member(document: dict[str, Json], name: str) -> Json:
    """Returns the member of this name, whatever its case."""
    if name in document:
        return document[name]
    return next((value for key, value in document.items() if key.lower() == name.lower()), None)


def _is_nothing(value: Json) -> bool:
    """Whether a company ID stands for none: 0 is what .NET sends for a number that was never set."""
    return not isinstance(value, bool) and value in (0, -1, "0", "-1")


def _type(value: Json) -> str:
    """Returns the type as one line of printable text that fits its column; empty for what is no text or number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = " ".join(repaired(str(value)).split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)[:LONGEST_TYPE].strip()


def _plain(key: str) -> str:
    """dtUpdated, updated_at and sUpdatedAt without their prefix and separators."""
    bare = re.sub(r"^(?:dt|s|d)(?=[A-Z])", "", key)
    return bare.replace("_", "").replace("-", "").lower()

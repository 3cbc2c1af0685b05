"""What a webhook's body says, and what an inspection's content tells about itself.

Vendor's page, "WebHook": JSON with the inspection ID and the internal company ID; a later edition adds `sType`,
`iInsReviewID` and `sStatus`. There is no signature: everything here is a hint until the API has confirmed it.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn

from integrations.snapinspect.json_answers import Json

LONGEST_TYPE: Final = 100
_LONGEST_NUMBER = 400
_ID = re.compile(r"0{0,20}([1-9][0-9]{0,19})")
# Spellings, without type prefix, case and separators, under which a record may say when it was last changed.
_CHANGED = ("updated", "updatedat", "lastupdated", "modified", "modifiedat", "lastmodified", "dateupdated", "changedat")

PROBLEMS: Final = {
    "empty": "The body is empty.",
    "not_text": "The body is not UTF-8 text.",
    "not_json": "The body is not JSON.",
    "too_deep": "The body is nested too deeply to be read.",
    "not_object": "The body is JSON, but not an object.",
    "bad_type": "sType is not a short, printable text.",
    "bad_inspection_id": "iInspectionID is not a positive whole number of at most 20 digits.",
    "bad_review_id": "iInsReviewID is not a positive whole number of at most 20 digits.",
    "bad_company_id": "iCompanyID is not a positive whole number of at most 20 digits.",
}


class Unreadable(ValueError):
    """A body that is not what SnapInspect documents. `problem` is a key of PROBLEMS."""

    def __init__(self, problem: str) -> None:
        super().__init__(PROBLEMS[problem])
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Hint:
    """What a body says. Each is empty when it is missing; IDs are canonical decimal digits."""

    type: str = ""
    inspection_id: str = ""
    review_id: str = ""
    company_id: str = ""


def read(body: bytes) -> Hint:
    """The hint in a webhook's body. Unknown types and further members are fine; raises Unreadable."""
    if not body.strip():
        raise Unreadable("empty")
    problem = ""
    document: Json = None
    try:
        document = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse, parse_int=_integer)
    except UnicodeError:
        problem = "not_text"
    except RecursionError:
        problem = "too_deep"
    except ValueError:
        problem = "not_json"
    if problem:
        # Raised out here: the parser's own error quotes the body.
        raise Unreadable(problem)
    if not isinstance(document, dict):
        raise Unreadable("not_object")
    return Hint(
        type=_type(document.get("sType")),
        inspection_id=_id(document.get("iInspectionID"), "bad_inspection_id"),
        review_id=_id(document.get("iInsReviewID"), "bad_review_id"),
        company_id=_id(document.get("iCompanyID"), "bad_company_id"),
    )


def canonical(content: Json) -> tuple[str, str]:
    """The content as one spelling of JSON, and its SHA-256: equal for equal content, whatever its order."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return text, hashlib.sha256(text.encode()).hexdigest()


def company_of(content: Json) -> str:
    """The company that an inspection's content names; empty if it names none, or not as a number."""
    try:
        return _id(content.get("iCompanyID"), "bad_company_id") if isinstance(content, dict) else ""
    except Unreadable:
        return ""


def changed_at(content: Json) -> datetime | None:
    """When the record was last changed, by its own word; None if it does not say so in a way we understand."""
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


def listed(page: Json) -> list[str]:
    """The inspection IDs on one page of a listing, in its order, wherever they stand in it."""
    return list(dict.fromkeys(_inspections(page)))


def next_link(page: Json) -> str:
    """The address of the following page; empty on the last one."""
    link = page.get("next") if isinstance(page, dict) else None
    return link if isinstance(link, str) else ""


def _inspections(value: Json) -> Iterator[str]:
    """A loop, not recursion: no depth can exhaust the stack."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict) and "iInspectionID" in item:
            try:
                yield _id(item["iInspectionID"], "bad_inspection_id")
            except Unreadable:
                continue
        elif isinstance(item, dict):
            waiting += reversed(item.values())
        elif isinstance(item, list):
            waiting += reversed(item)


def _type(value: Json) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_TYPE or not value.isprintable():
        raise Unreadable("bad_type")
    return value.strip()


def _id(value: Json, problem: str) -> str:
    if value is None or value == "":
        return ""
    # bool is an int to Python; 1.0 is not a spelling of an ID.
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    found = _ID.fullmatch(text.strip()) if text.isascii() else None
    if found is None:
        raise Unreadable(problem)
    return found[1]


def _plain(key: str) -> str:
    """dtUpdated, updated_at and sUpdatedAt without their prefix and separators."""
    bare = re.sub(r"^(?:dt|s|d)(?=[A-Z])", "", key)
    return bare.replace("_", "").replace("-", "").lower()


def _refuse(constant: str) -> NoReturn:
    """NaN and Infinity are not JSON (RFC 8259 section 6)."""
    raise ValueError


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError
    return int(digits)

"""Reads webhooks' bodies, and the content of inspections.

Vendor page, "WebHook": JSON with the inspection ID and the internal company ID; a later edition adds `sType`,
`iInsReviewID` and `sStatus`. There is no signature: a body is a hint until the API has confirmed it.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from integrations.snapinspect.json_answers import MAX_ID_DIGITS, Json, canonical_id, refuse_constant

LONGEST_TYPE: Final = 100
_MAX_DIGITS = 400
# Spellings, without type prefix, case and separators, under which a record may say when it was last changed.
_CHANGED = ("updated", "updatedat", "lastupdated", "modified", "modifiedat", "lastmodified", "dateupdated", "changedat")

PROBLEMS: Final = {
    "empty": "The body is empty.",
    "not_text": "The body is not UTF-8 text.",
    "not_json": "The body is not JSON.",
    "too_deep": "The body is nested too deeply to be read.",
    "not_object": "The body is JSON, but not an object.",
    "bad_type": "sType is not a short, printable text.",
    "bad_inspection_id": f"iInspectionID is not a positive whole number of at most {MAX_ID_DIGITS} digits.",
    "bad_review_id": f"iInsReviewID is not a positive whole number of at most {MAX_ID_DIGITS} digits.",
    "bad_company_id": f"iCompanyID is not a positive whole number of at most {MAX_ID_DIGITS} digits.",
}


class Unreadable(ValueError):
    """A body that is not what SnapInspect documents. `problem` is a key of PROBLEMS."""

    def __init__(self, problem: str) -> None:
        super().__init__(PROBLEMS[problem])
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Hint:
    """What a body says. Empty where it says nothing; IDs are canonical digits."""

    type: str = ""
    inspection_id: str = ""
    review_id: str = ""
    company_id: str = ""


def read(body: bytes) -> Hint:
    """Returns the hint in a webhook's body. Accepts unknown types and members. Raises Unreadable."""
    if not body.strip():
        raise Unreadable("empty")
    problem = ""
    document: Json = None
    try:
        document = json.loads(body.decode("utf-8-sig"), parse_constant=refuse_constant, parse_int=_integer)
    except UnicodeError:
        problem = "not_text"
    except RecursionError:
        problem = "too_deep"
    except ValueError:
        problem = "not_json"
    if problem:
        # Raised outside the except block: the parser's error quotes the body.
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


def _type(value: Json) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_TYPE or not value.isprintable():
        raise Unreadable("bad_type")
    return value.strip()


def _id(value: Json, problem: str) -> str:
    if value is None or value == "":
        return ""
    found = canonical_id(value)
    if found is None:
        raise Unreadable(problem)
    return found


def _plain(key: str) -> str:
    """dtUpdated, updated_at and sUpdatedAt without their prefix and separators."""
    bare = re.sub(r"^(?:dt|s|d)(?=[A-Z])", "", key)
    return bare.replace("_", "").replace("-", "").lower()


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError
    return int(digits)

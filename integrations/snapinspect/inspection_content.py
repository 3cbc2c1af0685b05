"""Reads what the API says about an inspection, and its listings of changed ones.

Neither is documented: the vendor page names `iInspectionID` and `iCompanyID` only.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from integrations.snapinspect.json_answers import Json, canonical_id

# Spellings, without type prefix, case and separators, under which a record may say when it was last changed.
_CHANGED = ("updated", "updatedat", "lastupdated", "modified", "modifiedat", "lastmodified", "dateupdated", "changedat")


def canonical(content: Json) -> tuple[str, str]:
    """Returns canonical JSON of the content, whatever the order of its members, and its SHA-256."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return text, hashlib.sha256(text.encode()).hexdigest()


def company_of(content: Json) -> str:
    """Returns the company that an inspection's content names; empty if it names none or several."""
    companies = _named(content)["icompanyid"]
    return companies.pop() if len(companies) == 1 else ""


def inspections_of(content: Json) -> set[str]:
    """Returns which inspections the content says that it is: one, none, or several where it contradicts itself."""
    return _named(content)["iinspectionid"]


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


def is_listing(page: Json) -> bool:
    """Returns whether a page has a list, which may be empty, or names inspections: else it says nothing about them."""
    waiting = [page]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            return True
        if isinstance(item, dict):
            waiting += item.values()
    return bool(inspection_ids(page))


def next_link(page: Json) -> str:
    """Returns the address of the next page; empty on the last one."""
    link = page.get("next") if isinstance(page, dict) else None
    return link if isinstance(link, str) else ""


def _named(content: Json) -> dict[str, set[str]]:
    """Returns the inspections and companies that the content names by valid IDs, on the first level that names any."""
    level = [content]
    while level:
        found: dict[str, set[str]] = {"icompanyid": set(), "iinspectionid": set()}
        below: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                for key, value in item.items():
                    if key.lower() in found and (number := canonical_id(value)):
                        found[key.lower()].add(number)
                below += item.values()
            elif isinstance(item, list):
                below += item
        if any(found.values()):
            return found
        level = below
    return {"icompanyid": set(), "iinspectionid": set()}


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


def _plain(key: str) -> str:
    """dtUpdated, updated_at and sUpdatedAt without their prefix and separators."""
    bare = re.sub(r"^(?:dt|s|d)(?=[A-Z])", "", key)
    return bare.replace("_", "").replace("-", "").lower()

"""Reads what the API says about an inspection, and its listings of changed ones.

Neither is documented: the vendor page names `iInspectionID` and `iCompanyID` only.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from integrations.snapinspect.json_answers import Json, canonical_id
from integrations.snapinspect.webhook_members import name_of
from integrations.snapinspect.webhook_text import bare

LONGEST_LINE = 1000  # characters that are read of a title or a status
# Spellings, without type prefix, case and separators, of a record's name and of its status; the better one first.
_TITLES = (
    "title", "inspectiontitle", "institle", "name", "inspectionname", "insname", "displayname", "subject", "address",
    "propertyaddress", "assetname", "propertyname",
)  # fmt: skip
_STATUSES = ("status", "inspectionstatus", "insstatus", "statusname")
# Spellings, without type prefix, case and separators, under which a record may say when it was last changed.
_CHANGED = ("updated", "updatedat", "lastupdated", "modified", "modifiedat", "lastmodified", "dateupdated", "changedat")


def canonical(content: Json) -> tuple[str, str]:
    """Returns canonical JSON of the content, whatever the order of its members, and its SHA-256."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return text, hashlib.sha256(text.encode()).hexdigest()


def company_of(content: Json) -> str:
    """Returns the company that an inspection's content names, itself or in its `company`; empty if none or several."""
    companies = _named(content)["iCompanyID"]
    if not companies:
        own = [value for key, value in _record(content).items() if isinstance(value, dict) and bare(key) == "company"]
        companies = {number for item in own for number in _numbers(item, "iCompanyID")}
    return companies.pop() if len(companies) == 1 else ""


def inspections_of(content: Json) -> set[str]:
    """Returns which inspections the content says that it is: one, none, or several where it contradicts itself."""
    return _named(content)["iInspectionID"]


def title_of(content: Json, field: str = "") -> str:
    """Returns the inspection's name on one line; empty if it has none.

    field: the member that holds it, in any case, at any depth; empty for the usual spellings beside the ID.
    Further below, a name is that of a person or a property.
    """
    if field:
        values = (value for key, value in _members(content) if key.lower() == field.lower())
        return next(filter(None, map(_line, values)), "")
    return _first(_record(content), _TITLES)


def status_of(content: Json) -> str:
    """Returns the inspection's status on one line; empty if it has none."""
    return _first(_record(content), _STATUSES)


def facts_of(content: Json) -> list[tuple[str, Json]]:
    """Returns what else the record says of itself, for people: words for the member, and a text, number, true or false.

    Without title, status, what is empty, and IDs, which mean nothing to them.
    """
    return [
        (_words(key), value)
        for key, value in _record(content).items()
        if isinstance(value, str | int | float)
        and value != ""
        and not _plain(key).endswith("id")
        and _plain(key) not in {*_TITLES[:1], *_STATUSES}
    ]


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
    """Returns the address of the next page; empty on the last one.

    Looked for under the usual names. For what stands there and is no text, "//" is returned, which leads nowhere.
    """
    for holder in (page, page.get("links"), page.get("_links"), page.get("paging")) if isinstance(page, dict) else ():
        if isinstance(holder, dict):
            plain = {_plain(key.removeprefix("@odata.")): value for key, value in holder.items()}
            link = next((plain[name] for name in ("next", "nextlink", "nextpage", "nexturl") if plain.get(name)), None)
            if isinstance(link, dict):
                link = link.get("href") or link.get("url") or 0
            if link is not None:
                return link if isinstance(link, str) else "//"
    return ""


def _named(content: Json) -> dict[str, set[str]]:
    """Returns the inspections and companies that the content names by valid IDs, on the first level that names any."""
    level = [content]
    while level:
        found: dict[str, set[str]] = {"iCompanyID": set(), "iInspectionID": set()}
        below: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                for name, numbers in found.items():
                    numbers.update(_numbers(item, name))
                below += item.values()
            elif isinstance(item, list):
                below += item
        if any(found.values()):
            return found
        level = below
    return {"iCompanyID": set(), "iInspectionID": set()}


def _numbers(item: dict[str, Json], name: str) -> list[str]:
    """Returns the valid IDs in an object under this name in any case, or else under its other spellings."""
    values = [value for key, value in item.items() if key.lower() == name.lower()]
    values = values or [value for key, value in item.items() if name_of(key) == name]
    return list(filter(None, map(canonical_id, values)))


def _levels(content: Json) -> Iterator[list[dict[str, Json]]]:
    """Yields the objects of the content, the outermost first, those of one depth together."""
    level = [content]
    while level:
        objects = [item for item in level if isinstance(item, dict)]
        yield objects
        lists = [item for item in level if isinstance(item, list)]
        level = [value for item in objects for value in item.values()] + [value for item in lists for value in item]


def _record(content: Json) -> dict[str, Json]:
    """Returns the outermost object that names an inspection; without one the content itself, if it is an object."""
    for level in _levels(content):
        for item in level:
            if _numbers(item, "iInspectionID"):
                return item
    return content if isinstance(content, dict) else {}


def _members(content: Json) -> Iterator[tuple[str, Json]]:
    for level in _levels(content):
        for item in level:
            yield from item.items()


def _first(record: dict[str, Json], spellings: Iterable[str]) -> str:
    plain = {_plain(key): value for key, value in record.items()}
    return next(filter(None, (_line(plain.get(name)) for name in spellings)), "")


def _line(value: Json) -> str:
    """Returns text or a number on one line, without characters that are not for reading; anything else is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    readable = "".join(character if character.isprintable() else " " for character in str(value)[:LONGEST_LINE])
    return " ".join(readable.split())


def _inspections(value: Json) -> Iterator[str]:
    """Yields IDs from a loop: no depth exhausts the stack."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict) and (numbers := _numbers(item, "iInspectionID")):
            yield numbers[0]
        elif isinstance(item, dict):
            waiting += reversed(item.values())
        elif isinstance(item, list):
            waiting += reversed(item)


def _words(key: str) -> str:
    """Returns "Due date" for dtDueDate, due_date and DueDate."""
    bare = re.sub(r"^(?:dt|[a-z])(?=[A-Z])", "", key)
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", bare).replace("_", " ").replace("-", " ")
    return words.strip()[:60].capitalize()


def _plain(key: str) -> str:
    """dtUpdated, updated_at and sUpdatedAt without their prefix and separators."""
    bare = re.sub(r"^(?:dt|s|d)(?=[A-Z])", "", key)
    return bare.replace("_", "").replace("-", "").lower()

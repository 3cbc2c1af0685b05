"""Reads the answer of `/user`: who a token belongs to.

The vendor documents `GET /user`, but not its answer. The company ID is looked for under `iCompanyID` (its name in
webhooks) at any depth, else under other spellings of that; names and addresses under the usual spellings. The rest is
kept for display.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from integrations.snapinspect import error_answers
from integrations.snapinspect.errors import Garbled, TokenRefused
from integrations.snapinspect.json_answers import HIDDEN, MAX_ID_DIGITS, Json, canonical_id
from integrations.snapinspect.webhook_members import members_of

COMPANY_ID = "iCompanyID"
LONGEST_TEXT = 200
LONGEST_USER_ID = 64

# Spellings after `_plain`, best first.
_NAMES = ("displayname", "fullname", "name", "username")
_FIRST, _LAST = ("firstname", "givenname"), ("lastname", "surname", "familyname")
_EMAILS = ("email", "emailaddress", "useremail")
_COMPANY_NAMES = ("companyname", "company", "organisationname", "organizationname")
_COMPANIES = ("company", "companies", "organisation", "organization")


@dataclass(frozen=True, slots=True)
class Profile:
    """company_id: canonical decimal digits, None when absent or contradictory. details: all of the answer."""

    company_id: str | None
    company_name: str | None
    name: str | None
    email: str | None
    details: dict[str, Json] | list[Json] = field(repr=False)


@dataclass(slots=True)
class _Object:
    """One JSON object of the answer; `members` by plain spelling."""

    raw: dict[str, Json]
    is_company: bool
    members: dict[str, Json] = field(init=False)

    def __post_init__(self) -> None:
        self.members = {}
        for key, value in self.raw.items():
            self.members.setdefault(_plain(key), value)

    def text(self, *keys: str) -> str | None:
        """Returns the first of these members that is a non-blank string, on one line and cut to LONGEST_TEXT."""
        for key in keys:
            value = self.members.get(key)
            if isinstance(value, str) and (line := " ".join(value[: 5 * LONGEST_TEXT].split())):
                return line[:LONGEST_TEXT]
        return None


def read_user(answer: Json) -> Profile:
    """Returns the profile in the answer of `/user`, an object or a list of objects; the outermost mention wins.

    Raises TokenRefused when the answer says that the token is not accepted. Raises Garbled of the kind "no_account"
    when it reports another failure, or tells nothing about anybody.
    """
    if not isinstance(answer, dict | list):
        if error_answers.problem(answer) == "unauthorized":
            raise TokenRefused("token_refused")
        raise Garbled("no_account")
    objects: list[Json] = answer if isinstance(answer, list) else [answer]
    problems = [_problem(item) for item in objects]
    if "unauthorized" in problems:
        raise TokenRefused("token_refused")
    if not problems or any(problems):
        raise Garbled("no_account")
    return _profile(answer, objects)


def _problem(item: Json) -> str:
    """Returns why an object of the answer is not about anybody; empty if it is."""
    content = error_answers.content(item)
    about = _profile(content, [content])
    is_identified = bool(about.company_id or about.company_name or about.name or about.email)
    return error_answers.problem(item, is_identified=is_identified) or ("" if content else "empty")


def _profile(answer: dict[str, Json] | list[Json], objects: list[Json]) -> Profile:
    levels = list(_levels(objects))
    persons = [[item for item in level if not item.is_company] for level in levels]
    return Profile(
        company_id=_company_id(levels),
        company_name=_first(
            item.text(*(_COMPANY_NAMES + (_NAMES if item.is_company else ()))) for level in levels for item in level
        ),
        name=_first(_person_name(level) for level in persons),
        email=_first(item.text(*_EMAILS) for level in persons for item in level),
        details=answer,
    )


def user_id(profile: Profile, name: str) -> str | None:
    """Returns SnapInspect's ID of this user as text; None when it is absent, contradictory or invalid.

    name: of the member that holds it, in exact spelling. Only the outermost level with such a member counts: deeper
    ones are about other users. 501 and "501" are one ID, "0501" is another.
    """
    answer = profile.details
    for level in _levels(list(answer) if isinstance(answer, list) else [answer]):
        found = {_id(item.raw[name]) for item in level if name in item.raw}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _id(value: Json) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**MAX_ID_DIGITS:
        return str(value)
    if isinstance(value, str) and 0 < len(value) <= LONGEST_USER_ID and value.isprintable() and value == value.strip():
        # An echoed token was replaced in the answer: as an ID, it would be the same for everybody.
        return None if HIDDEN in value else value
    return None


def _levels(objects: list[Json]) -> Iterator[list[_Object]]:
    """Yields the answer's objects by level, outermost first. A loop: no depth exhausts the stack."""
    waiting: list[tuple[Json, bool]] = [(item, False) for item in objects]
    while waiting:
        level: list[_Object] = []
        below: list[tuple[Json, bool]] = []
        for item, is_company in waiting:
            if isinstance(item, dict):
                level.append(_Object(item, is_company))
                below += [(value, _plain(key) in _COMPANIES) for key, value in item.items()]
            elif isinstance(item, list):
                below += [(value, is_company) for value in item]
        yield level
        waiting = below


def _company_id(levels: list[list[_Object]]) -> str | None:
    """The company's ID under its own name; only where no object has that, under the spellings of webhooks."""
    for values_of in (_documented_ids, _spelled_ids):
        for level in levels:
            found = {canonical_id(value) for item in level for value in values_of(item.raw)} - {None}
            if found:
                return found.pop() if len(found) == 1 else None
    return None


def _documented_ids(raw: dict[str, Json]) -> list[Json]:
    return [raw[COMPANY_ID]] if COMPANY_ID in raw else []


def _spelled_ids(raw: dict[str, Json]) -> list[Json]:
    return members_of(raw).get(COMPANY_ID, [])


def _person_name(level: list[_Object]) -> str | None:
    """Returns the best name on one level: a full name, else its parts, else a user name."""
    return (
        _first(item.text(*_NAMES[:-1]) for item in level)
        or _first(" ".join(filter(None, (item.text(*_FIRST), item.text(*_LAST)))) or None for item in level)
        or _first(item.text(_NAMES[-1]) for item in level)
    )


def _first(candidates: Iterator[str | None]) -> str | None:
    return next((text for text in candidates if text), None)


def _plain(key: str) -> str:
    """Returns a member's name without type prefix, case and separators: sFirstName and first_name are firstname."""
    if len(key) > 1 and key[0] in "so" and key[1].isupper():
        key = key[1:]
    return key.replace("_", "").replace("-", "").lower()

"""Reads what is not JSON in a webhook's body: forms, and text in which members are named all the same.

The second is for JSON with a mistake anywhere (a backslash or a quote too many in somebody's text, a comma too many,
apostrophes in place of quotes), and for XML and the like: the numbers stand beside their names.
"""

import re
from collections.abc import Container
from html import unescape
from urllib.parse import parse_qsl, unquote_plus

Form = dict[str, "str | Form"]

_MOST_FIELDS = 100
_MOST_VALUES = 4000
_DEEPEST_NAME = 10
_FIELD_NAME = re.compile(r"""\bname="?([^";\r\n]+)""", re.IGNORECASE)
# events[0][iCompanyID], events.0.iCompanyID
_NAME_PARTS = re.compile(r"[\[\].]+")
# "name": value, 'name' = value, <name>value, name="value", with the backslashes of JSON in JSON.
_NAMED = re.compile(
    r"""(?<![\w-])([A-Za-z][A-Za-z_-]{2,39})[\\"'”\]]{0,9}\s{0,9}(?:=>|[:=>])\s{0,9}(?:"""
    r"""[\\"'“”]{1,9}([^\\"'”<>&,;{}]{0,200})[\\"'”]|([^\s\\"'“<>&,;{}()\[\]]{1,200}))"""
)
# Behind a bare value: a number that the end of the text, or another digit, follows may not be all of it.
_ENDED = re.compile(r"""\s|,(?!\d)|[;&<"'\\)}\]]|/>""")


def form_fields(text: str) -> Form:
    """Returns the fields of a urlencoded or multipart form (WHATWG URL, RFC 7578); empty if it is none.

    Names with brackets or points are levels. Of several fields of one name the first one that is not empty counts, but
    for those that hold JSON: their texts are joined.
    """
    pairs: list[tuple[str, str]] = []
    if text.startswith("--"):
        boundary = text.split("\n", 1)[0].strip()
        for part in text.replace("\r\n", "\n").split(boundary, _MOST_FIELDS)[1:]:
            head, _, content = part.partition("\n\n")
            named = _FIELD_NAME.search(head)
            pairs.append((named[1] if named else "payload", content.strip()))
    elif "=" in text and text[0] not in "{[<":
        if "&" not in text:
            text = "&".join(text.splitlines())  # enctype="text/plain"
        if text.count("&") < _MOST_FIELDS:
            pairs = parse_qsl(text.lstrip("?&"), keep_blank_values=True)
    form: Form = {}
    for name, value in pairs:
        *around, last = [part for part in _NAME_PARTS.split(name, _DEEPEST_NAME) if part] or [name]
        place = form
        for level in around:
            below = place.setdefault(level, {})
            place = below if isinstance(below, dict) else {}
        before = place.setdefault(last, value)
        if isinstance(before, str) and before != value:
            is_json = before.startswith(("{", "[")) and value.startswith(("{", "["))
            place[last] = f"{before}\n{value}" if is_json else before or value
    return form


def named_values(text: str, names: Container[str]) -> list[dict[str, str]]:
    """Returns the values that stand beside these names (bare, see `bare`); a name that comes again begins the next one.

    What may be the beginning of a longer number, since the text ends there, is left out.
    """
    for _ in range(2):
        if re.search(r"%(?:25)*(?:22|3D|7B)", text, re.IGNORECASE):
            text = unquote_plus(text)
    if "&quot;" in text or "&#" in text or "&lt;" in text:
        text = unescape(text)
    found: list[dict[str, str]] = [{}]
    for number, match in enumerate(_NAMED.finditer(text)):
        name, value = match[1], match[2] if match[2] is not None else match[3]
        if number == _MOST_VALUES:
            break
        if bare(name) not in names or (match[3] and not _is_complete(text, match.end())):
            continue
        if any(bare(name) == bare(other) for other in found[-1]):
            found.append({})
        found[-1][name] = value
    return found


def bare(name: str) -> str:
    """Returns a member's name without type prefix, case and separators: intCompanyID and company_id are one name."""
    return re.sub(r"[\W_]+", "", re.sub(r"^@?(?:int|str|obj|[a-z])(?=[A-Z])", "", name)).lower()


def _is_complete(text: str, end: int) -> bool:
    return _ENDED.match(text, end) is not None or (end == len(text) and text[0] not in "{[<(\"'")

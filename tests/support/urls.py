"""Every address the app answers, read from its URLconf: what tests go through that no address may escape."""

import re
from collections.abc import Iterator
from typing import Any

from django.urls import URLResolver, get_resolver


def routes(resolver: Any = None, names: str = "", path: str = "/") -> Iterator[tuple[str, str]]:
    """Name and path of each, with parameters as <name>."""
    for pattern in (resolver or get_resolver()).url_patterns:
        below = path + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, f"{names}{pattern.namespace}:" if pattern.namespace else names, below)
        else:
            plain = re.sub(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>", r"<\1\2>", below)
            yield names + (pattern.name or ""), plain.replace("^", "").replace("/?$", "/").replace("$", "")


def filled(path: str, values: dict[str, Any]) -> str:
    """The path with these values for its parameters; where there is none, one is made up."""
    numbers = dict.fromkeys(("object_id", "id", "pk", "content_type_id", "invitation", "membership", "uidb36"), 1)
    made_up = {**numbers, "app_label": "accounts"}
    return re.sub(r"<(\w+)>", lambda parameter: str((made_up | values).get(parameter[1], "made-up")), path)

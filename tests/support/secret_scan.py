"""The secret scan (row T1): every secret of a test run starts with one random word; no file written may contain it.

Searched for as it is, percent-encoded, JSON-escaped, in hex (how PostgreSQL dumps bytes) and in base64 at each of its
three offsets.
"""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from tests.settings import SENTINEL


def spellings(secret: str = SENTINEL) -> list[bytes]:
    """How the secret may look in a file."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), raw.hex().encode()}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        # Without the characters that depend on what stands before and after.
        found.add(encoded[4 if offset else 0 : -4])
    return sorted(found)


def found_in(data: bytes, secrets: Iterable[str]) -> list[str]:
    """The spellings of these secrets that the data holds."""
    return [found.decode("ascii", "replace") for secret in secrets for found in spellings(secret) if found in data]


def leaks(folders: Iterable[Path], secret: str = SENTINEL) -> list[str]:
    """The files below these folders that hold the secret: logs, mail, pages, databases with their WAL."""
    wanted = spellings(secret)
    return sorted(
        f"{folder.name}/{path.relative_to(folder)}"
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in wanted)
    )

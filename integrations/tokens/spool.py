"""A new pair on disk, sealed, from the moment it is read until the database has it.

An exchange kills the old tokens the moment SnapInspect carries it out. Should the database fail, or this process be
killed, before the new ones are committed, they would be lost, and with them the customer's connection. So a slot is
reserved on disk before the exchange is sent (a full disk stops it), filled and fsynced when the answer is there, and
emptied when the database has committed. What is found here later is taken home by `tokens.take_home()`.
"""

import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings

# Two sealed tokens of 3.5 kB each take about 13 kB.
RESERVED_BYTES = 32 * 1024
ABANDONED_AFTER = 3600.0  # seconds


@dataclass(frozen=True)
class Entry:
    """A sealed pair, and the row and version that it replaces.

    The connection is named by its public code: row numbers repeat from database to database, and a folder may outlive
    the one that it belonged to.
    """

    pair: int
    version: int
    connection: str
    sealed_access: str
    sealed_refresh: str
    key_id: str
    fingerprint: str
    # How often the connection had been disconnected when the exchange was sent.
    disconnects: int


class Slot:
    """A place on disk for one pair."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, entry: Entry) -> None:
        """Durable when this returns."""
        _write(self.path, json.dumps(asdict(entry)).encode())

    def read(self) -> Entry | None:
        """What was put here; None for a slot whose exchange has brought nothing (yet)."""
        try:
            return Entry(**json.loads(self.path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def free(self) -> None:
        self.path.unlink(missing_ok=True)

    @property
    def is_abandoned(self) -> bool:
        """Whether it is so old that nobody can be about to use it."""
        try:
            return time.time() - self.path.stat().st_mtime > ABANDONED_AFTER
        except FileNotFoundError:
            return False


def reserve(pair: int, version: int) -> Slot:
    """A slot with room for a pair. Raises OSError when the disk has none: then nothing must be exchanged."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{pair}-{version}-{secrets.token_hex(4)}.json"
    _write(path, b"\0" * RESERVED_BYTES)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return Slot(path)


def found() -> Iterator[tuple[Slot, Entry]]:
    """Every slot that holds a pair."""
    for path in sorted(_folder().glob("*.json")):
        slot = Slot(path)
        entry = slot.read()
        if entry is not None:
            yield slot, entry


def is_empty() -> bool:
    """Whether no slot is in use, which is how it is between exchanges."""
    return not any(_folder().glob("*.json"))


def forget(connection: str) -> int:
    """Removes what this host keeps for the connection of this code; returns how many pairs that were."""
    slots = [slot for slot, entry in found() if entry.connection == connection]
    for slot in slots:
        slot.free()
    return len(slots)


def tidy() -> None:
    """Removes slots that a killed process reserved and never filled, once nobody can be about to fill them."""
    for path in _folder().glob("*.json"):
        slot = Slot(path)
        if slot.is_abandoned and slot.read() is None:
            slot.free()


def _folder() -> Path:
    return Path(settings.SPOOL_DIR)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        # Over what is reserved, and cut only after it is written: the room stays ours until it is used.
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

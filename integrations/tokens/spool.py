"""Keeps a new pair on disk, sealed, until the database has it.

An exchange invalidates the old tokens at once. If the database failed, or this process was killed, before the new ones
are committed, the customer's connection would be lost. So a slot is reserved on disk before the exchange is sent (a
full disk prevents it), filled and fsynced with the answer, and removed after the commit. What is found here later is
committed by `spool_recovery.commit_spooled()`.
"""

import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings

from integrations.snapinspect.token_pair import LONGEST_TOKEN

RESERVED_BYTES = 8 * LONGEST_TOKEN  # enough for two sealed tokens that came through a browser
ABANDONED_AFTER = 3600.0  # seconds


@dataclass(frozen=True)
class Entry:
    """A sealed pair, and the row and version that it replaces.

    The connection is named by its public code: the folder may outlive its database, and row ids repeat in another one.
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
        """Returns the entry; None for a slot that is not filled, or by another version of this software."""
        try:
            # What is left of the reserved bytes follows the entry if its writer was killed before it cut them off.
            return Entry(**json.loads(self.path.read_bytes().rstrip(b"\0")))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def is_filled(self) -> bool:
        """Whether it holds anything, readable or not."""
        try:
            return self.path.read_bytes().strip(b"\0") != b""
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def free(self) -> None:
        self.path.unlink(missing_ok=True)

    @property
    def is_abandoned(self) -> bool:
        """Whether it is so old that no process can be about to use it."""
        try:
            return time.time() - self.path.stat().st_mtime > ABANDONED_AFTER
        except FileNotFoundError:
            return False


def reserve(pair: int, version: int) -> Slot:
    """Reserves a slot for a pair. Raises OSError when the disk is full: then nothing may be exchanged."""
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


def entries() -> Iterator[tuple[Slot, Entry]]:
    """Yields every slot that is filled, with its entry."""
    for path in sorted(_folder().glob("*.json")):
        slot = Slot(path)
        entry = slot.read()
        if entry is not None:
            yield slot, entry


def is_empty() -> bool:
    """Returns whether no slot is reserved or filled, as is normal between exchanges."""
    return not any(_folder().glob("*.json"))


def delete_for(code: str) -> None:
    """Deletes this host's entries for the connection with this code."""
    for slot, entry in entries():
        if entry.connection == code:
            slot.free()


def delete_abandoned() -> None:
    """Deletes slots that a killed process has reserved and never filled."""
    for path in _folder().glob("*.json"):
        slot = Slot(path)
        if slot.is_abandoned and not slot.is_filled:
            slot.free()


def unreadable() -> list[Path]:
    """Returns the files that hold something this version cannot read: it may be a newer version's, so they are kept."""
    slots = [Slot(path) for path in sorted(_folder().glob("*.json"))]
    return [slot.path for slot in slots if slot.read() is None and slot.is_filled]


def _folder() -> Path:
    return Path(settings.SPOOL_DIR)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        # Overwrite the reserved bytes and truncate afterwards: the disk space stays ours until it is used.
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

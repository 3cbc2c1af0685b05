"""Which keys the stored values need, and whether they are configured.

Every sealed value stands beside the id of the key that sealed it, so this is counted without opening anything. A key
that is needed and not configured is lost, or forgotten in a setting: the app is not ready then, the connections
concerned say "Setup problem", and nothing that is stored gets overwritten until the key is back.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from integrations.models import TokenPair, WebhookAddress
from integrations.tokens import encryption
from integrations.tokens.encryption import Purpose

logger = logging.getLogger(__name__)


class KeysMissing(Exception):
    """Stored values are sealed by keys that are not configured; the text names the keys."""


@dataclass(frozen=True)
class Store:
    """A table of values that are sealed for their connection.

    columns: what is sealed, and the purpose it was sealed for; may be empty. as_read: what else must stand in a row
    as it was read for a value to be put back there.
    """

    rows: "QuerySet[Any]"
    columns: Mapping[str, Purpose]
    as_read: tuple[str, ...]


STORES = (
    Store(
        TokenPair.objects.all(),
        {"sealed_access": "access", "sealed_refresh": "refresh"},
        # A pair changes with its version, and its place with its connection.
        as_read=("key_id", "version", "connection_id"),
    ),
    Store(WebhookAddress.objects.all(), {"sealed_secret": "webhook"}, as_read=("key_id", "connection_id")),
)


def in_use(most: int | None = None) -> Counter[str]:
    """How many stored rows each key has sealed, by key id; of each kind of row counted no further than `most`."""
    used: Counter[str] = Counter()
    for store in STORES:
        for key_id in _names(store):
            used[key_id] += store.rows.filter(key_id=key_id).order_by()[:most].count()
    return used


def missing() -> dict[str, int]:
    """The keys that sealed something and are not configured, with how many rows need each."""
    configured = encryption.key_ids()
    gone = {key_id for store in STORES for key_id in _names(store)} - set(configured)
    return {key_id: rows for key_id, rows in sorted(in_use().items()) if key_id in gone} if gone else {}


def _names(store: Store) -> Iterator[str]:
    """The ids of the keys that rows of this kind are sealed by: one look into the index for each, however many rows."""
    name: str | None = ""
    while name := store.rows.filter(key_id__gt=name).order_by("key_id").values_list("key_id", flat=True).first():
        yield name


def require() -> None:
    """Raises KeysMissing unless every key that something is sealed by is configured."""
    gone = missing()
    if gone:
        raise KeysMissing(f"not configured: {', '.join(gone)}")


class Watch:
    """Tells the log once when keys are missing, and once when they are back, however often it is asked to look.

    every: seconds between two looks. One costs a few looks into an index, however many rows are sealed.
    """

    def __init__(self, every: float = 60.0) -> None:
        self._every = every
        self._next = 0.0
        self._told: set[str] = set()

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        gone = missing()
        if gone and set(gone) != self._told:
            logger.error(
                "%s stored rows are sealed by keys that TOKEN_ENCRYPTION_KEYS does not list (%s). Their connections"
                " say 'Setup problem' and nothing of theirs is sent or overwritten; add the keys and restart.",
                sum(gone.values()),
                ", ".join(gone),
            )
        elif self._told and not gone:
            logger.info("Every key that stored rows are sealed by is configured again.")
        self._told = set(gone)

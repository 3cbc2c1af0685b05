"""Which encryption keys the stored values need, and whether they are configured.

Every sealed value is stored with the id of its key, so nothing has to be opened for this. While a key that is needed is
not configured, the app is not ready, the connections concerned say "Setup problem", and no stored value is overwritten.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from integrations.models import TokenPair, WebhookAddress, WebhookEndpoint
from integrations.tokens import encryption
from integrations.tokens.encryption import Context, EndpointKeyContext, EndpointPurpose, KeyContext, Purpose

logger = logging.getLogger(__name__)


class KeysMissing(Exception):
    """Stored values are sealed by keys that are not configured; the text names the keys."""


@dataclass(frozen=True)
class SealedTable:
    """A table with sealed values.

    columns: what is sealed, and for which purpose; may be empty. as_read: columns that must not have changed since the
    row was read, for a value to be written back. context: of a row's value with this purpose; `context_from`: the
    columns that it needs.
    """

    rows: "QuerySet[Any]"
    columns: Mapping[str, Any]
    as_read: tuple[str, ...]
    context: Callable[[Mapping[str, Any], Any], Context]
    context_from: tuple[str, ...]


def _of_connection(row: Mapping[str, Any], purpose: Purpose) -> Context:
    return KeyContext(row["connection__customer_id"], row["connection_id"], purpose)


def _of_endpoint(row: Mapping[str, Any], purpose: EndpointPurpose) -> Context:
    return EndpointKeyContext(row["code"], purpose)


_CONNECTION = ("connection__customer_id", "connection_id", "connection__code")
SEALED_TABLES = (
    SealedTable(
        TokenPair.objects.all(),
        {"sealed_access": "access", "sealed_refresh": "refresh"},
        # An exchange changes the version; a move to another connection changes the key context.
        as_read=("key_id", "version", "connection_id"),
        context=_of_connection,
        context_from=_CONNECTION,
    ),
    SealedTable(
        WebhookAddress.objects.all(),
        {"sealed_secret": "webhook"},
        as_read=("key_id", "connection_id"),
        context=_of_connection,
        context_from=_CONNECTION,
    ),
    SealedTable(
        WebhookEndpoint.objects.all(),
        {"sealed_secret": "signing", "sealed_old_secret": "signing", "sealed_headers": "headers"},
        as_read=("key_id", "sealed_secret", "sealed_headers"),
        context=_of_endpoint,
        context_from=("code",),
    ),
)


def rows_by_key(most: int | None = None) -> Counter[str]:
    """Returns how many rows each key has sealed, by key id; counts no further than `most` in each table."""
    used: Counter[str] = Counter()
    for table in SEALED_TABLES:
        for key_id in _key_ids(table):
            used[key_id] += table.rows.filter(key_id=key_id).order_by()[:most].count()
    return used


def missing() -> dict[str, int]:
    """Returns how many rows need each key that is not configured, by key id."""
    configured = encryption.key_ids()
    gone = {key_id for table in SEALED_TABLES for key_id in _key_ids(table)} - set(configured)
    return {key_id: rows for key_id, rows in sorted(rows_by_key().items()) if key_id in gone} if gone else {}


def _key_ids(table: SealedTable) -> Iterator[str]:
    """Yields the ids of the keys that this table needs: one index lookup for each, however many rows there are."""
    key_id: str | None = ""
    while key_id := table.rows.filter(key_id__gt=key_id).order_by("key_id").values_list("key_id", flat=True).first():
        yield key_id


def require() -> None:
    """Raises KeysMissing unless every key that is needed is configured."""
    gone = missing()
    if gone:
        raise KeysMissing(f"not configured: {', '.join(gone)}")


class Watch:
    """Logs once when keys are missing, and once when they are configured again, however often `look` is called.

    every: seconds between two checks. A check costs a few index lookups, however many rows there are.
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

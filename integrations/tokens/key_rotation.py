"""Moves what is stored from old keys to the newest one, while everything runs.

Each row is put back by one conditional UPDATE, and only where it still is what was read: whoever has exchanged the
tokens meanwhile wins. How far the work has come stands in the rows themselves, so it may be killed anywhere and
started again, and run any number of times at once.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from accounts import audit
from integrations.models import Connection, State, TokenPair, WebhookAddress
from integrations.tokens import custody, encryption, keys, spool
from integrations.tokens.encryption import CannotUnseal, Place

BATCH = 500
# Rows that changed under our hands are looked at again; who seals with an old list of keys could go on for ever.
MOST_PASSES = 3
CODES_TOLD = 20


@dataclass
class Report:
    """resealed, not_opened: rows. codes: connections of the first rows that could not be opened."""

    resealed: int = 0
    not_opened: int = 0
    codes: list[str] = field(default_factory=list)
    # What old keys still seal, after all: rows by key id. And the old keys that nothing needs any more.
    left: Counter[str] = field(default_factory=Counter)
    unused: list[str] = field(default_factory=list)


def outdated() -> int:
    """How many rows are not sealed by the newest key."""
    newest = encryption.key_ids()[0]
    return sum(rows for key_id, rows in keys.in_use().items() if key_id != newest)


def reseal(*, batch: int = BATCH, progress: Callable[[int], Any] = lambda rows: None) -> Report:
    """Seals every row by the newest key; rows that none of the keys opens stay as they are, and are reported.

    `batch`: rows in memory at a time. `progress` is called with the number of rows that have just been dealt with.
    """
    newest, *older = encryption.key_ids()
    custody.take_home()  # pairs that an exchange has left on this host's disk are rows, too
    report = Report()
    for _ in range(MOST_PASSES):
        report.not_opened, report.codes = 0, []
        overtaken = 0
        for store in keys.STORES:
            for row in _outdated_rows(store, newest, batch):
                try:
                    put_back = _resealed(store, row)
                except CannotUnseal:
                    report.not_opened += 1
                    if len(report.codes) < CODES_TOLD and row["connection__code"] not in report.codes:
                        report.codes.append(row["connection__code"])
                else:
                    report.resealed += put_back
                    overtaken += not put_back
                progress(1)
        if not overtaken:
            break
    report.left = keys.in_use() + _spooled()
    del report.left[newest]
    report.unused = [key_id for key_id in older if not report.left[key_id]]
    audit.record("keys.resealed", key=newest, rows=report.resealed, not_opened=report.not_opened)
    return report


def give_up(key_id: str) -> int:
    """Erases the tokens that this key has sealed, which is lost for good, and asks their owners to connect again.

    Returns how many connections that concerns. Raises ValueError while the key is configured.
    """
    if key_id in encryption.key_ids():
        raise ValueError(f"Key {key_id} is configured: what it sealed can be opened.")
    given_up = set()
    for pair in TokenPair.objects.filter(key_id=key_id).select_related("connection__customer").iterator():
        with transaction.atomic():
            # An exchange, or a person who connected again, may have replaced it since.
            if not TokenPair.objects.filter(pk=pair.pk, version=pair.version, key_id=key_id).delete()[0]:
                continue
            _asks_for_a_person(pair, key_id)
        given_up.add(pair.connection_id)
    # A webhook address is found by its hash: it goes on working, and only cannot be shown any more.
    WebhookAddress.objects.filter(key_id=key_id).update(key_id="", sealed_secret=b"")
    return len(given_up)


def _spooled() -> Counter[str]:
    """How many pairs of this database wait on this host's disk, by key id."""
    known = Connection.objects.values_list("code", flat=True)
    return Counter(entry.key_id for _, entry in spool.found() if known.filter(code=entry.connection).exists())


def _outdated_rows(store: keys.Store, newest: str, batch: int) -> Iterator[dict[str, Any]]:
    """Every row that another key has sealed, by primary key, so many at a time."""
    wanted: QuerySet[Any, dict[str, Any]] = (
        store.rows.exclude(key_id__in=[newest, ""])
        .order_by("pk")
        .values("pk", "connection__code", "connection__customer_id", *store.as_read, *store.columns)
    )
    last = 0
    while rows := list(wanted.filter(pk__gt=last)[:batch]):
        yield from rows
        last = rows[-1]["pk"]


def _resealed(store: keys.Store, row: dict[str, Any]) -> bool:
    """Whether the row was sealed anew; not if somebody has changed it since it was read. Raises CannotUnseal."""
    changes: dict[str, Any] = {}
    for column, purpose in store.columns.items():
        if row[column]:
            sealed = encryption.reseal(
                row[column], Place(row["connection__customer_id"], row["connection_id"], purpose)
            )
            changes |= {column: sealed.ciphertext, "key_id": sealed.key_id}
    unchanged = store.rows.filter(pk=row["pk"], **{name: row[name] for name in store.as_read})
    return bool(unchanged.update(**changes) == 1)


def _asks_for_a_person(pair: TokenPair, key_id: str) -> None:
    connection = pair.connection
    audit.record(
        "tokens.given_up",
        customer=connection.customer,
        subject=connection.code,
        fingerprint=pair.fingerprint,
        key=key_id,
    )
    was_all_it_had = pair.role == TokenPair.Role.CURRENT or connection.state == State.CONNECTING
    if was_all_it_had and connection.state != State.DISCONNECTED:
        connection.move_to(State.NEEDS_RECONNECT, error_kind="cannot_unseal", next_check_at=None)

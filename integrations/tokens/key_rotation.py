"""Seals stored values anew with the newest key, while everything runs.

Each row is written by one conditional UPDATE, only if it is unchanged since it was read: an exchange in between wins.
The rows themselves hold the progress, so this may be killed anywhere, started again, and run many times at once.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts import audit, second_factors
from integrations.models import Connection, State, TokenPair, WebhookAddress, WebhookEndpoint
from integrations.tokens import encryption, keys, spool, spool_recovery
from integrations.tokens.encryption import CannotUnseal

BATCH = 500
# Rows that changed in between are tried again. A process with an old list of keys could change them for ever.
MAX_PASSES = 3
MAX_CODES = 20


@dataclass
class Report:
    """resealed, not_opened: rows. codes: connections of the first rows that could not be opened.

    left: rows that old keys still seal, by key id. unused: old keys that nothing needs any more.
    """

    resealed: int = 0
    not_opened: int = 0
    codes: list[str] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    unused: list[str] = field(default_factory=list)


def outdated() -> int:
    """Returns how many rows are not sealed by the newest key."""
    newest = encryption.key_ids()[0]
    return sum(rows for key_id, rows in keys.rows_by_key().items() if key_id != newest)


def reseal(*, progress: Callable[[int], Any] = lambda rows: None) -> Report:
    """Seals every row by the newest key. Rows that none of the keys opens stay as they are, and are reported.

    BATCH rows are in memory at a time. `progress` is called with the number of rows just handled.
    """
    newest, *older = encryption.key_ids()
    spool_recovery.commit_spooled()  # so that they are sealed anew, too
    report = Report()
    for _ in range(MAX_PASSES):
        report.not_opened, report.codes = 0, []
        changed = 0
        for table in keys.SEALED_TABLES:
            for row in _outdated_rows(table, newest):
                try:
                    written = _reseal_row(table, row)
                except CannotUnseal:
                    report.not_opened += 1
                    code = row.get("connection__code")
                    if code and len(report.codes) < MAX_CODES and code not in report.codes:
                        report.codes.append(code)
                else:
                    report.resealed += written
                    changed += not written
                progress(1)
        if not changed:
            break
    factors, factors_left = second_factors.reseal()
    report.resealed += factors
    report.left = keys.rows_by_key() + _spooled() + factors_left
    del report.left[newest]
    report.unused = [key_id for key_id in older if not report.left[key_id]]
    audit.record("keys.resealed", key=newest, rows=report.resealed, not_opened=report.not_opened)
    return report


def erase_sealed_by(key_id: str) -> int:
    """Erases the tokens that a lost key has sealed, and moves their connections to Needs reconnect.

    Returns how many connections are concerned. Raises ValueError while the key is configured.
    """
    if key_id in encryption.key_ids():
        raise ValueError(f"Key {key_id} is configured: what it sealed can be opened.")
    concerned = set()
    for pair in TokenPair.objects.filter(key_id=key_id).select_related("connection__customer").iterator():
        with transaction.atomic():
            # An exchange or a reconnect may have replaced it since.
            if not TokenPair.objects.filter(pk=pair.pk, version=pair.version, key_id=key_id).delete()[0]:
                continue
            _needs_person(pair, key_id)
        concerned.add(pair.connection_id)
    # Webhook addresses are looked up by their hash: they keep working, and only cannot be shown any more.
    WebhookAddress.objects.filter(key_id=key_id).update(key_id="", sealed_secret=b"")
    # Endpoints need a new secret, which somebody has to give to the receiver.
    WebhookEndpoint.objects.filter(key_id=key_id).update(
        state=WebhookEndpoint.State.OFF,
        off_reason=WebhookEndpoint.OffReason.SECRET_LOST,
        state_since=Now(),
        notice_at=Now(),
        key_id="",
        sealed_secret=b"",
        sealed_old_secret=b"",
        sealed_headers=b"",
        header_names=[],
    )
    return len(concerned)


def _spooled() -> Counter[str]:
    """Returns how many pairs of this database are in this host's spool, by key id."""
    known = Connection.objects.values_list("code", flat=True)
    return Counter(entry.key_id for _, entry in spool.entries() if known.filter(code=entry.connection).exists())


def _outdated_rows(table: keys.SealedTable, newest: str) -> Iterator[dict[str, Any]]:
    """Yields every row that another key has sealed, by primary key."""
    wanted: QuerySet[Any, dict[str, Any]] = (
        table.rows.exclude(key_id__in=[newest, ""])
        .order_by("pk")
        .values("pk", *{*table.context_from, *table.as_read, *table.columns})
    )
    last = 0
    while rows := list(wanted.filter(pk__gt=last)[:BATCH]):
        yield from rows
        last = rows[-1]["pk"]


def _reseal_row(table: keys.SealedTable, row: dict[str, Any]) -> bool:
    """Returns whether the row was sealed anew: not if it has changed since it was read. Raises CannotUnseal."""
    changes: dict[str, Any] = {}
    for column, purpose in table.columns.items():
        if row[column]:
            sealed = encryption.reseal(row[column], table.context(row, purpose))
            changes |= {column: sealed.ciphertext, "key_id": sealed.key_id}
    unchanged = table.rows.filter(pk=row["pk"], **{name: row[name] for name in table.as_read})
    return bool(unchanged.update(**changes) == 1)


def _needs_person(pair: TokenPair, key_id: str) -> None:
    connection = pair.connection
    audit.record(
        "tokens.given_up",
        customer=connection.customer,
        subject=connection.code,
        fingerprint=pair.fingerprint,
        key=key_id,
    )
    had_no_other = pair.role == TokenPair.Role.CURRENT or connection.state == State.CONNECTING
    if had_no_other and connection.state != State.DISCONNECTED:
        connection.move_to(State.NEEDS_RECONNECT, error_kind="cannot_unseal", next_check_at=None)

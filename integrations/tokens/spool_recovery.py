"""Commits pairs that are spooled on this host's disk and never reached the database.

Workers do so in every sweep. A host with web processes alone exchanges tokens, too: there a thread does it (`start`).
"""

import logging
import threading
from pathlib import Path
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models.functions import Now

from accounts import audit
from integrations.models import Connection, State, TokenPair
from integrations.tokens import spool, storage

logger = logging.getLogger(__name__)

INTERVAL = 5.0  # seconds
# Files that this process has reported.
_reported: set[Path] = set()


def commit_spooled() -> int:
    """Commits the pairs in this host's spool; returns how many were dealt with.

    A pair whose row is still at the version that it replaces goes into that row. One whose row was changed meanwhile
    becomes a candidate, see `keep_as_candidate`.
    """
    done = 0
    for slot, entry in spool.entries():
        connection = Connection.objects.filter(code=entry.connection).first()
        if connection is None:  # deleted since, or in another database that uses this folder
            if slot.is_abandoned:
                logger.warning("A pair for connection %s, which is not known, was erased from disk.", entry.connection)
                slot.free()
            continue
        row = TokenPair.objects.filter(pk=entry.pair, connection=connection)
        if row.filter(fingerprint=entry.fingerprint).exists():
            slot.free()  # committed already; the process died before it freed the slot
            continue
        if row.filter(version=entry.version).exclude(pk__in=TokenPair.objects.unleased()).exists():
            continue  # the holder of the lease may be about to commit it
        at_its_version = row.unleased().filter(version=entry.version)
        committed = (
            entry.disconnects == connection.disconnects
            and at_its_version.update(**storage.from_spool(entry), **storage.AFTER_EXCHANGE) == 1
        )
        if not committed and not keep_as_candidate(entry):
            continue  # another candidate waits for a person; try again once that is answered
        connection.check_soon()
        slot.free()
        done += 1
    spool.delete_abandoned()
    for path in spool.unreadable():
        if path not in _reported:
            _reported.add(path)
            logger.error("%s cannot be read by this version: a newer one may have written it. It is kept.", path)
    return done


def keep_as_candidate(entry: spool.Entry) -> bool:
    """Makes a pair that came too late for its row a candidate; returns False while another candidate is there.

    A pair from before a disconnect, or from before the grant that is in use now, is erased instead, and the audit trail
    says so.
    """
    with transaction.atomic():
        # A disconnect at this moment either comes first, or erases what is created here.
        connection = Connection.objects.select_for_update().filter(code=entry.connection).first()
        if connection is None:
            return True
        pairs = connection.pairs.all()
        if pairs.filter(fingerprint=entry.fingerprint).exists():
            return True  # another process has committed it from the spool
        ended = connection.state == State.DISCONNECTED or entry.disconnects < connection.disconnects
        if ended or pairs.current().filter(pk__gt=entry.pair).exists():
            reason = "disconnected" if ended else "connected_anew"
            logger.warning("A pair of connection %s came too late and was erased (%s).", connection.code, reason)
            _record("tokens.refused", connection, entry, reason=reason)
            return True
        if pairs.candidates().exists():
            return False
        TokenPair.objects.create(connection=connection, exchanged_at=Now(), **storage.from_spool(entry))
        _record("tokens.kept_aside", connection, entry)
    return True


def start() -> None:
    """Starts a thread that recovers until this process ends."""
    threading.Thread(target=_run, name="spool-recovery", daemon=True).start()


def recover() -> int:
    """Like `commit_spooled`, but logs what goes wrong, and does not touch the database while the spool is empty."""
    if spool.is_empty():
        return 0
    try:
        return commit_spooled()
    except (DatabaseError, InterfaceError) as problem:
        logger.warning("Spooled pairs cannot be committed yet (%s).", type(problem).__name__)
    except Exception:
        logger.exception("Spooled pairs could not be committed; the next try is in %s s.", INTERVAL)
    finally:
        connections.close_all()  # this thread rarely needs one
    return 0


def _run() -> None:
    pause = threading.Event()
    while not pause.wait(INTERVAL):
        recover()


def _record(kind: str, connection: Connection, entry: spool.Entry, **detail: Any) -> None:
    audit.record(kind, customer=connection.customer, subject=connection.code, fingerprint=entry.fingerprint, **detail)

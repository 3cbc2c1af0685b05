"""Brings home what exchanges have left on this host's disk, where only web processes run.

Workers do so at every sweep. A host that serves pages exchanges tokens, too, and may have no worker: without this, a
pair that was spooled while the database was away would stay on its disk, and its connection would be lost.
"""

import logging
import threading

from django.db import DatabaseError, InterfaceError, connections

from integrations.tokens import custody, spool

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


def watch() -> None:
    """Looks from now on, in a thread of its own, until this process ends."""
    threading.Thread(target=_watch, name="homecoming", daemon=True).start()


def _watch() -> None:
    pause = threading.Event()
    while not pause.wait(LOOK_SECONDS):
        look()


def look() -> int:
    """Takes home what there is; returns how many pairs. The database is left alone when the disk holds nothing."""
    if spool.is_empty():
        return 0
    try:
        return custody.take_home()
    except (DatabaseError, InterfaceError) as problem:
        logger.warning("What waits on disk cannot be brought home yet (%s).", type(problem).__name__)
    except Exception:
        logger.exception("What waits on disk could not be brought home; the next try is in %s s.", LOOK_SECONDS)
    finally:
        connections.close_all()  # this thread needs one again in weeks, if ever
    return 0

"""Connections to SQLite that notice when their file is not the one that stands in its place any more.

Opening a connection for each request cost more than the request. A kept one goes on writing into a file that was moved
away, or that a backup has replaced since: what it acknowledges would be lost.
"""

import os
from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        self._opened = _file_at(conn_params["database"])
        return connection

    def is_usable(self) -> bool:
        """Asked once for each request, and for each task (CONN_HEALTH_CHECKS)."""
        return super().is_usable() and _file_at(self.settings_dict["NAME"]) == self._opened


def _file_at(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """What tells a file from any other; None where there is none, or a database in memory."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino

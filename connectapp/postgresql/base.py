import time
from functools import partial
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg.errors import ConnectionTimeout, _WaitTimeout

from connectapp.postgresql import OPTIONS, REFUSE_AFTER_SILENCE, deadline
from connectapp.postgresql.prepared import Cursor

# By time.monotonic(), of this process: until then nobody else waits for a server that has just said nothing.
_silent_until = 0.0


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        parameters = OPTIONS | super().get_connection_params()
        # The setting says that a pooler may give each transaction another connection.
        if parameters["cursor_factory"] is base.Cursor and not self.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
            parameters["cursor_factory"] = Cursor
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if deadline.get() is not None and time.monotonic() < _silent_until:
            raise psycopg.OperationalError("The database server did not answer a moment ago.")
        try:
            connection = super().get_new_connection(conn_params)
        except ConnectionTimeout:
            _note_silence()
            raise
        connection.wait = partial(_wait, connection)
        return connection


def _wait(connection: "psycopg.Connection[Any]", answer: Any, **options: Any) -> Any:
    """What the server answers. Raises OperationalError, and closes the connection, when the deadline is over."""
    options.setdefault("timeout", deadline.get())
    try:
        answered = psycopg.Connection.wait(connection, answer, **options)
    except _WaitTimeout:
        connection.pgconn.finish()
        _note_silence()
        raise psycopg.OperationalError("The database server did not answer in time.") from None
    if _silent_until:
        _note_silence(0)
    return answered


def _note_silence(seconds: float = REFUSE_AFTER_SILENCE) -> None:
    """0: it has answered. A connection alone is no answer: a pooler opens one while its server hangs."""
    global _silent_until  # noqa: PLW0603  (threads may write at once; each writes nearly the same)
    _silent_until = time.monotonic() + seconds if seconds else 0.0

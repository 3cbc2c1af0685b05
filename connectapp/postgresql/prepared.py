"""Statements that PostgreSQL plans once for each connection: those whose SQL is `Prepared`.

By PREPARE and EXECUTE: Django's cursors write parameters into the text, which psycopg therefore never prepares.
"""

import hashlib
import re
from collections import Counter
from functools import cache
from itertools import count
from typing import Any

from django.db.backends.postgresql import base
from psycopg import ClientCursor
from psycopg.errors import DuplicatePreparedStatement, InvalidSqlStatementName

from accounts.prepared_statements import Prepared

# After so many calls on a connection it is prepared, which takes a statement more.
_AFTER_CALLS = 2
# Whether this process has found a pooler between itself and the server, which gives it another connection each time.
_is_pooled = False


class Cursor(base.CursorMixin, ClientCursor[Any]):
    """Django's cursor for parameters that are written into the text."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        if not isinstance(query, Prepared) or _is_pooled:
            return super().execute(query, params, **options)
        calls: Counter[str] = self.connection.__dict__.setdefault("calls_of_prepared", Counter())
        if calls[query] < _AFTER_CALLS:
            calls[query] += 1
            return super().execute(query, params, **options)
        prepare, execute = _statements(query)
        try:
            if calls[query] == _AFTER_CALLS:
                super().execute(prepare)
                calls[query] += 1
            return super().execute(execute, params, **options)
        except (InvalidSqlStatementName, DuplicatePreparedStatement):
            # Nothing was run. docs/scaling.md has a setting that says so before.
            _note_pooler()
            if not self.connection.autocommit:
                raise
        return super().execute(query, params, **options)


def _note_pooler() -> None:
    global _is_pooled  # noqa: PLW0603  (it is set once)
    _is_pooled = True


@cache
def _statements(sql: str) -> tuple[str, str]:
    """The statements that prepare it and that run it, under a name that no other text has."""
    name = f"connect_{hashlib.sha256(sql.encode()).hexdigest()[:32]}"
    places = count(1)
    numbered = re.sub("%%|%s", lambda found: "%" if found[0] == "%%" else f"${next(places)}", sql)
    given = ", ".join(["%s"] * (next(places) - 1))
    return f"PREPARE {name} AS {numbered}", f"EXECUTE {name} ({given})"

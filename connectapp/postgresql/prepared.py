"""Statements that PostgreSQL plans once for each connection: those whose SQL is `Prepared`.

By PREPARE and EXECUTE: Django's cursors write parameters into the text, which psycopg therefore never prepares.
"""

import hashlib
import logging
import re
from collections import Counter
from functools import cache
from itertools import count
from typing import Any

from django.db.backends.postgresql import base
from psycopg import ClientCursor
from psycopg.errors import DuplicatePreparedStatement, FeatureNotSupported, InvalidSqlStatementName

from accounts.prepared_statements import Prepared

logger = logging.getLogger(__name__)

# After so many calls on a connection it is prepared, which takes a statement more.
_AFTER_CALLS = 2
# What the server says when it does not run one: a pooler has given us another of its connections, where the name is
# unknown or taken; a migration has changed the type of a column that the statement returns.
_NOT_RUN = (InvalidSqlStatementName, DuplicatePreparedStatement, FeatureNotSupported)
# Whether this process has met one of these.
_is_off = False


class Cursor(base.CursorMixin, ClientCursor[Any]):
    """Django's cursor for parameters that are written into the text."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        if not isinstance(query, Prepared) or _is_off:
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
        except _NOT_RUN as problem:
            _switch_off(problem)
            if not self.connection.autocommit:
                raise
        return super().execute(query, params, **options)


def _switch_off(problem: Exception) -> None:
    global _is_off  # noqa: PLW0603  (it is set once)
    _is_off = True
    logger.warning(
        "This process prepares no statements any more (%s). Behind a pooler in transaction mode, DATABASE_URL needs"
        " ?DISABLE_SERVER_SIDE_CURSORS=true.",
        type(problem).__name__,
    )


@cache
def _statements(sql: str) -> tuple[str, str]:
    """The statements that prepare it and that run it, under a name that no other text has."""
    name = f"connect_{hashlib.sha256(sql.encode()).hexdigest()[:32]}"
    places = count(1)
    numbered = re.sub("%%|%s", lambda found: "%" if found[0] == "%%" else f"${next(places)}", sql)
    given = ", ".join(["%s"] * (next(places) - 1))
    return f"PREPARE {name} AS {numbered}", f"EXECUTE {name}" + (f" ({given})" if given else "")

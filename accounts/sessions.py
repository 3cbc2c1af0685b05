"""Django's sessions in the database, read by one plain statement: the first of every page of a signed-in person."""

from typing import Any

from django.contrib.sessions.backends import db
from django.db import connection as database
from django.utils import timezone

from accounts.first_statement import first_statement


class SessionStore(db.SessionStore):
    def load(self) -> dict[str, Any]:
        row = first_statement(self._row)
        if row is None:
            self._session_key = None
            return {}
        return self.decode(row[0])

    def _row(self) -> tuple[str] | None:
        expire_date = self.model._meta.get_field("expire_date")
        with database.cursor() as cursor:
            cursor.execute(
                f"SELECT session_data FROM {self.model._meta.db_table}"  # noqa: S608
                " WHERE session_key = %s AND expire_date > %s",
                [self.session_key, expire_date.get_db_prep_value(timezone.now(), database)],
            )
            row: tuple[str] | None = cursor.fetchone()
        return row

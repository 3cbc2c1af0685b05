"""Migration operations that build and drop indexes of large tables while others write.

PostgreSQL does so with CONCURRENTLY, which works only outside a transaction and leaves an invalid index when it is
interrupted (https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY). So a migration
with these operations is not atomic, and each of them can be repeated: an existing index stays, an invalid one is built
again. Django's own (django.contrib.postgres) support neither SQLite nor a repetition.
"""

from typing import Any

from django.db import NotSupportedError
from django.db.migrations.operations import AddIndex, RemoveIndex
from django.db.models import Index


class AddIndexOnline(AddIndex):
    atomic = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        build(schema_editor, to_state.apps.get_model(app_label, self.model_name), self.index)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        drop(schema_editor, from_state.apps.get_model(app_label, self.model_name), self.index)


class RemoveIndexOnline(RemoveIndex):
    atomic = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        drop(schema_editor, from_state.apps.get_model(app_label, self.model_name), self._index(app_label, from_state))

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        build(schema_editor, to_state.apps.get_model(app_label, self.model_name), self._index(app_label, to_state))

    def _index(self, app_label: str, state: Any) -> Index:
        index: Index = state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
        return index


def build(schema_editor: Any, model: Any, index: Index) -> None:
    is_valid = _is_valid(schema_editor, model, index)
    if is_valid is False:
        drop(schema_editor, model, index)
    if not is_valid:
        schema_editor.add_index(model, index, **_concurrently(schema_editor))


def drop(schema_editor: Any, model: Any, index: Index) -> None:
    if _is_valid(schema_editor, model, index) is not None:
        schema_editor.remove_index(model, index, **_concurrently(schema_editor))


def _is_valid(schema_editor: Any, model: Any, index: Index) -> bool | None:
    """Whether the index is valid; None if it does not exist."""
    database = schema_editor.connection
    with database.cursor() as cursor:
        if database.vendor != "postgresql":
            return True if index.name in database.introspection.get_constraints(cursor, model._meta.db_table) else None
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [index.name])
        found = cursor.fetchone()
    return None if found is None else bool(found[0])


def _concurrently(schema_editor: Any) -> dict[str, bool]:
    if schema_editor.connection.vendor != "postgresql":
        return {}
    if schema_editor.connection.in_atomic_block:
        raise NotSupportedError("This index is built outside a transaction: set atomic = False on its migration.")
    return {"concurrently": True}

"""Migrations run while the version before them still serves: what it writes must fit the new schema, too."""

from django.db import models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AddField, CreateModel

OURS = {"accounts", "integrations"}


def test_O11_the_version_before_can_write_rows_without_the_columns_that_were_added() -> None:
    in_its_way = []
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        new = {operation.name_lower for operation in migration.operations if isinstance(operation, CreateModel)}
        for operation in migration.operations:
            if app not in OURS or not isinstance(operation, AddField) or operation.model_name_lower in new:
                continue
            field = operation.field
            assert isinstance(field, models.Field)
            if not field.null and not field.has_db_default():
                in_its_way.append(f"{app}.{name}: {operation.model_name}.{operation.name}")
    assert in_its_way == [], "give them a db_default"

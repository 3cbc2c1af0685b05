from typing import Any

from django.db import migrations
from django.db.models import Index

from accounts import online_indexes

# Tables that many rows are written to. Nothing compares their codes by LIKE.
MODELS = ("Event", "OutgoingMessage", "OutgoingDelivery")


def _index(model: Any, schema_editor: Any) -> Index:
    """The index that Django makes on PostgreSQL for LIKE, beside that of a unique text."""
    name = schema_editor._create_index_name(model._meta.db_table, ["code"], suffix="_like")
    return Index(fields=["code"], name=name, opclasses=["varchar_pattern_ops"])


def drop(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for model in (apps.get_model("integrations", name) for name in MODELS):
            online_indexes.drop(schema_editor, model, _index(model, schema_editor))


def build(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for model in (apps.get_model("integrations", name) for name in MODELS):
            online_indexes.build(schema_editor, model, _index(model, schema_editor))


class Migration(migrations.Migration):
    """Each event wrote one row more into an index that nothing reads."""

    atomic = False

    dependencies = [("integrations", "0011_plural_of_outgoing_deliveries")]

    operations = [migrations.RunPython(drop, build)]

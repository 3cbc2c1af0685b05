from datetime import timedelta
from typing import Any

from django.db import migrations, models
from django.db.models.functions import Now

from accounts.indexing import AddIndexOnline


def mark_those_left_behind(apps: Any, schema_editor: Any) -> None:
    """Until now a pair was known to be left behind by its connection's state."""
    pairs = apps.get_model("integrations", "TokenPair").objects
    pairs.filter(
        connection__state="disconnected",
        connection__state_since__lt=Now() - timedelta(seconds=10),
        received_at__lt=models.F("connection__state_since"),
    ).update(erase_after=Now())


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("integrations", "0011_company_and_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="tokenpair",
            name="erase_after",
            field=models.DateTimeField(null=True),
        ),
        AddIndexOnline(
            model_name="tokenpair",
            index=models.Index(
                condition=models.Q(("erase_after__isnull", False)), fields=["erase_after"], name="pair_to_erase"
            ),
        ),
        migrations.RunPython(mark_those_left_behind, migrations.RunPython.noop, elidable=True),
    ]

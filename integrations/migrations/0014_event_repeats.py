import django.db.models.deletion
from django.db import migrations, models

from accounts.indexing import AddIndexOnline

# As Django has named it on every database.
BEFORE = "integrations_event_repeat_of_id_5cc26dd8"


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("integrations", "0013_pair_to_erase"),
    ]

    operations = [
        AddIndexOnline(
            model_name="event",
            index=models.Index(
                condition=models.Q(("repeat_of__isnull", False)), fields=["repeat_of"], name="event_repeats"
            ),
        ),
        migrations.SeparateDatabaseAndState(
            # Dropping an index reads nothing. Django would write SQLite's whole table anew for it.
            database_operations=[
                migrations.RunSQL(
                    f"DROP INDEX IF EXISTS {BEFORE}",
                    f"CREATE INDEX IF NOT EXISTS {BEFORE} ON integrations_event (repeat_of_id)",
                ),
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="event",
                    name="repeat_of",
                    field=models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="repeats",
                        to="integrations.event",
                    ),
                ),
            ],
        ),
    ]

from django.db import migrations, models


class Migration(migrations.Migration):
    """Endpoints are deleted by workers, in steps; until then they are off for a reason of their own."""

    dependencies = [("integrations", "0009_inspection_titles")]

    operations = [
        migrations.AlterField(
            "webhookendpoint",
            "off_reason",
            models.CharField(
                blank=True,
                choices=[
                    ("failing", "Every delivery has failed for three days"),
                    ("gone", "It answered 410 Gone"),
                    ("secret_lost", "Its signing secret cannot be opened any more"),
                    ("deleted", "It was deleted"),
                ],
                max_length=15,
            ),
        ),
    ]

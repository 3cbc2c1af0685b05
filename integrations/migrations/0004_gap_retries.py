from django.db import migrations, models


class Migration(migrations.Migration):
    """A list of what was missed that cannot be read has waits of its own."""

    dependencies = [("integrations", "0003_exchange_limit")]

    operations = [
        migrations.AddField("eventqueue", "gap_retry_at", models.DateTimeField(null=True)),
        migrations.AddField("eventqueue", "gap_tries", models.PositiveSmallIntegerField(db_default=0, default=0)),
    ]

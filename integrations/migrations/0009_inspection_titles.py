from django.db import migrations, models


class Migration(migrations.Migration):
    """Events say what the inspection is called and which status it had. Those from before say it once they are replayed."""

    dependencies = [("integrations", "0008_webhook_endpoints")]

    operations = [
        migrations.AddField(
            "event", "inspection_title", models.CharField(blank=True, db_default="", default="", max_length=200)
        ),
        migrations.AddField(
            "event", "inspection_status", models.CharField(blank=True, db_default="", default="", max_length=60)
        ),
        migrations.AddField(
            "event", "previous_status", models.CharField(blank=True, db_default="", default="", max_length=60)
        ),
    ]

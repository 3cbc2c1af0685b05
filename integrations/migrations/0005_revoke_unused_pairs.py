from django.db import migrations, models


class Migration(migrations.Migration):
    """Guest pairs that are used for nothing are revoked; an attempt remembers which pair it brought."""

    dependencies = [("integrations", "0004_gap_retries")]

    operations = [
        migrations.AddField(
            "ConnectAttempt", "fingerprint", models.CharField(blank=True, db_default="", default="", max_length=6)
        ),
        migrations.AddField("GuestTokenPair", "to_revoke", models.BooleanField(db_default=False, default=False)),
    ]

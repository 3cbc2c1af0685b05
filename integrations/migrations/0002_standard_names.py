from django.db import migrations, models
from django.db.models import deletion


class Migration(migrations.Migration):
    """Models get names that say what their rows are; no row changes."""

    dependencies = [("integrations", "0001_squashed_0014_event_repeats")]

    operations = [
        migrations.RenameModel("Lane", "EventQueue"),
        migrations.RenameModel("Turn", "NamedLock"),
        migrations.RenameModel("Introduction", "GuestTokenPair"),
        migrations.RenameModel("Breaker", "CircuitBreaker"),
        migrations.RenameModel("Check", "ConnectionTest"),
        migrations.RenameModel("ProbeLimit", "LookupLimit"),
        migrations.RenameIndex("EventQueue", old_name="lane_gap", new_name="queue_gap"),
        migrations.RenameIndex("EventQueue", old_name="lane_paused", new_name="queue_paused"),
        migrations.RenameIndex("GuestTokenPair", old_name="introduction_due", new_name="guest_pair_due"),
        migrations.AlterField(
            "EventQueue",
            "connection",
            models.OneToOneField(
                on_delete=deletion.CASCADE,
                primary_key=True,
                related_name="event_queue",
                serialize=False,
                to="integrations.connection",
            ),
        ),
        migrations.AlterField(
            "GuestTokenPair",
            "attempt",
            models.OneToOneField(
                on_delete=deletion.CASCADE, related_name="guest_pair", to="integrations.connectattempt"
            ),
        ),
        migrations.AlterField(
            "ConnectionTest",
            "connection",
            models.ForeignKey(
                on_delete=deletion.CASCADE, related_name="connection_tests", to="integrations.connection"
            ),
        ),
    ]

from django.db import migrations, models
from django.db.models import Q, deletion


class Migration(migrations.Migration):
    """A limit on exchanges takes the place of the circuit breaker, whose table is dropped a release later."""

    dependencies = [("integrations", "0002_standard_names")]

    operations = [
        # The table stays for the version before, and must not hold on to connections that are deleted.
        migrations.AlterField(
            "CircuitBreaker",
            "probe",
            models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=deletion.SET_NULL,
                related_name="+",
                to="integrations.connection",
            ),
        ),
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("CircuitBreaker")]),
        migrations.CreateModel(
            "ExchangeStatus",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("limited_since", models.DateTimeField(null=True)),
                ("accepted_at", models.DateTimeField(null=True)),
                ("accepted_secret", models.CharField(blank=True, max_length=32)),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=Q(pk=1), name="there_is_one_exchange_status")],
            },
        ),
        migrations.AddField("Connection", "exchange_pending_since", models.DateTimeField(null=True)),
        migrations.AddIndex("Connection", models.Index(fields=["proved_at"], name="connection_proved")),
        migrations.AddIndex(
            "Connection",
            models.Index(
                fields=["exchange_pending_since"],
                condition=Q(exchange_pending_since__isnull=False),
                name="connection_in_exchange",
            ),
        ),
    ]

"""The audit trail's second list, and names for entries that are older than the column. May be interrupted and repeated."""

from typing import Any

from django.db import migrations, models

from accounts.indexing import AddIndexOnline

BATCH = 1000


def name_actors(apps: Any, schema_editor: Any) -> None:
    """Entries from before keep the address of who did it, too; a batch at a time, so that nobody waits for all."""
    User, AuditEntry = apps.get_model("accounts", "User"), apps.get_model("accounts", "AuditEntry")
    email = User.objects.filter(pk=models.OuterRef("actor")).values("email")
    after = 0
    while batch := list(
        AuditEntry.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:BATCH]
    ):
        after = batch[-1]
        unnamed = AuditEntry.objects.filter(pk__in=batch, actor_name="").exclude(actor=None)
        unnamed.update(actor_name=models.Subquery(email))


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('accounts', '0002_people_and_invitations'),
    ]

    operations = [
        AddIndexOnline(
            model_name='auditentry',
            index=models.Index(fields=['customer', '-id'], name='audit_by_customer'),
        ),
        migrations.RunPython(name_actors, migrations.RunPython.noop, elidable=True),
    ]

from django.db import migrations, models

from accounts.indexing import AddIndexOnline, RemoveIndexOnline


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('integrations', '0003_panels'),
    ]

    operations = [
        # The old one is in use until the new one is there.
        AddIndexOnline(
            model_name='event',
            index=models.Index(fields=['connection', 'received_at', 'id', 'state', 'type'], name='event_by_connection_new'),
        ),
        RemoveIndexOnline(
            model_name='event',
            name='event_by_connection',
        ),
        migrations.RenameIndex(
            model_name='event',
            new_name='event_by_connection',
            old_name='event_by_connection_new',
        ),
        AddIndexOnline(
            model_name='event',
            index=models.Index(condition=models.Q(('state__in', ['retrying', 'failed', 'unmatched', 'ignored'])), fields=['connection', 'state', 'received_at', 'id', 'type'], name='event_by_state'),
        ),
    ]

from django.db import migrations, models

from accounts.indexing import AddIndexOnline


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('integrations', '0009_custody'),
    ]

    operations = [
        AddIndexOnline(
            model_name='event',
            index=models.Index(condition=models.Q(('repeat_of', None)), fields=['connection', 'state', 'received_at'], name='event_by_day'),
        ),
    ]

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0010_deleted_webhook_endpoints'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='outgoingdelivery',
            options={'ordering': ['-pk'], 'verbose_name_plural': 'outgoing deliveries'},
        ),
    ]

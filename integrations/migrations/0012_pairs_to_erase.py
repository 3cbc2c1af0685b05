from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0011_company_and_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="tokenpair",
            name="erase_after",
            field=models.DateTimeField(null=True),
        ),
    ]

from django.db import migrations, models

from accounts.indexing import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("integrations", "0012_pairs_to_erase"),
    ]

    operations = [
        AddIndexOnline(
            model_name="tokenpair",
            index=models.Index(
                condition=models.Q(("erase_after__isnull", False)), fields=["erase_after"], name="pair_to_erase"
            ),
        ),
    ]

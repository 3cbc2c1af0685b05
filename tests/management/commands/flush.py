"""Takes the place of Django's `flush`, which empties the database after every test that commits.

Django's own empties every table, used or not, and then makes all content types and permissions anew: that took longer
than most tests do.
"""

from typing import Any

from django.core.management.commands import flush
from django.db import connections, transaction

# Made by `migrate`, and the same for every test.
KEPT = {"django_content_type", "auth_permission"}


class Command(flush.Command):
    help = "Empties the tables that hold something. What `migrate` has written stays."

    def handle(self, **options: Any) -> None:
        connection = connections[options["database"]]
        quote = connection.ops.quote_name
        tables = sorted({*connection.introspection.django_table_names()} - KEPT)
        holding = " UNION ALL ".join(
            f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {quote(table)})" for table in tables
        )
        # Foreign keys are looked at when all of it is gone, so the order does not matter.
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(holding)
            for (table,) in cursor.fetchall():
                cursor.execute(f"DELETE FROM {quote(table)}")

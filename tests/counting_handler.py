"""The operator's code of the process tests: counts, in the database, how often each event had its effect."""

from accounts.models import AuditEntry
from integrations.handlers import Happening, on


@on("*", in_transaction=True)
def count(happening: Happening) -> None:
    AuditEntry.objects.create(
        kind="test.effect", customer=happening.connection.customer, detail={"type": happening.type}
    )

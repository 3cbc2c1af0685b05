"""The operator's code of the process tests: counts, in the database, how often each event had its effect."""

import os
from datetime import timedelta

from accounts.models import AuditEntry
from integrations import lanes
from integrations.handlers import Happening, on

if os.environ.get("LANE_LEASE"):
    # The short forms do not wait the product's 45 seconds for what a killed worker held.
    lanes.LEASE = timedelta(seconds=float(os.environ["LANE_LEASE"]))
    lanes.RENEW_AFTER = float(os.environ["LANE_LEASE"]) / 5


@on("*", in_transaction=True)
def count(happening: Happening) -> None:
    AuditEntry.objects.create(
        kind="test.effect", customer=happening.connection.customer, detail={"type": happening.type}
    )

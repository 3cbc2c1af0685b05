"""The operator's code of the process tests: counts, in the database, how often each event had its effect."""

import os
import sys
from datetime import timedelta

from django.db import connection as database

from accounts.models import AuditEntry
from integrations.events import leased_queue
from integrations.events.handlers import Happening, on
from integrations.models import leases
from integrations.outgoing import dispatcher
from tests.support.webhook_load import NO_SOCKET_HERE

if os.environ.get("LEASE_SECONDS"):
    # The short forms do not wait the product's lease for what a killed worker held.
    leases.LEASE = timedelta(seconds=float(os.environ["LEASE_SECONDS"]))
    leased_queue.RENEW_AFTER = float(os.environ["LEASE_SECONDS"]) / 5
    dispatcher.LEASE = leases.LEASE
    dispatcher.RENEW_AFTER = leased_queue.RENEW_AFTER


def report_socket(audited: str, arguments: tuple[object, ...]) -> None:
    if audited in {"socket.connect", "http.client.send"} and database.in_atomic_block:
        print(NO_SOCKET_HERE, file=sys.stderr, flush=True)


# Row O3: a network call inside a transaction would keep all other processes from writing to SQLite.
sys.addaudithook(report_socket)


@on("*", in_transaction=True)
def count(happening: Happening) -> None:
    AuditEntry.objects.create(
        kind="test.effect",
        customer=happening.connection.customer,
        detail={"type": happening.type, "inspection": happening.inspection_id},
    )

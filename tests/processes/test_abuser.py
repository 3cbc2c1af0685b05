"""Row L1: a stranger posts to addresses of connections that never connected, for twenty minutes; nobody notices."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from integrations.events import quotas
from tests.conftest import AppFactory
from tests.support.abuser import BODY, PER_SECOND, Abuser
from tests.support.many_customers import MANY_CUSTOMERS, ManyCustomers, p95
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.wait import wait_until
from tests.support.webhook_load import Sender

pytestmark = [pytest.mark.slow, pytest.mark.processes]

SECONDS = size(10, 20 * 60)
OTHERS = 4
MAKE_ADDRESSES = """
from accounts.models import Customer, User
from integrations.events import webhook_addresses
from integrations.models import Connection
stranger = User.objects.create_user(email="stranger@example.com", password="correct horse battery")
customer = Customer.objects.create_with_owner("Stranger", owner=stranger)
for _ in range(4):
    made = Connection.objects.create(customer=customer, connected_by=stranger)
    print(webhook_addresses.issue(made, by=stranger))
"""
STORED = """
SELECT COALESCE(SUM(LENGTH(body)), 0), COUNT(*) FROM integrations_delivery WHERE connection_id IN (
    SELECT integrations_connection.id FROM integrations_connection
    JOIN accounts_customer ON accounts_customer.id = customer_id WHERE name = 'Stranger'
)
"""


def test_L1_an_abuser_costs_others_no_event_and_little_disk(new_app: AppFactory) -> None:
    # SQLite waits for no disk here (the handler imports tests.settings), as PostgreSQL in tests does not.
    customers = ManyCustomers(new_app(**MANY_CUSTOMERS), OTHERS)
    words = itertools.count()

    def post_for(seconds: float) -> tuple[str, Sender]:
        """Posts about the others, ten a second."""
        sender, word, begun = Sender(customers.app), f"Honest{next(words)}", time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            jobs = []
            for number in range(int(seconds * 10)):
                company = customers.companies[number % OTHERS]
                fields = {"iInspectionID": customers.inspections[company], "iCompanyID": company}
                jobs.append(pool.submit(sender.post, f"{word}_{number}", **fields))
                threading.Event().wait(max(0.0, begun + number / 10 - time.monotonic()))
            for job in jobs:
                job.result()
        return word, sender

    post_for(3)  # caches are warm
    _, quiet = post_for(min(SECONDS, 60))
    abuser = Abuser(customers.app.manage("shell", "-v", "0", "-c", MAKE_ADDRESSES).split()[-4:])
    before = customers.size()
    with abuser:
        word, busy = post_for(SECONDS)
    assert abuser.acknowledged > 0.9 * abuser.sent
    delays = customers.delays(word, events=len(busy.acknowledged), seconds=120)

    quota = quotas.NEW_PARKED.size + quotas.NEW_WAITING.size

    def stored() -> int:
        return int(customers.app.rows(STORED)[0][0])

    # A batch that a late worker places is placed as a whole. Without either quota it would be a half.
    most = size(0.4 * abuser.sent * BODY, quota + quotas.NEW_WAITING.size / 10)
    wait_until(lambda: stored() <= most, every=1)
    times = p95(sorted(busy.seconds)) / p95(sorted(quiet.seconds))
    record(
        "L1",
        f"{PER_SECOND} posts a second, {BODY // 1024} KiB to addresses that never connected (20 minutes in full)",
        f"{abuser.sent:,} sent; {len(busy.acknowledged) - len(delays)} of {len(busy.acknowledged):,} events of others "
        f"lost; the door's p95 {p95(sorted(busy.seconds)) * 1000:.0f} ms, {times:.1f} x of without; "
        f"{stored() / quotas.MIB:.1f} MiB of the abuser kept (quota {quota // quotas.MIB} MiB), the database grew by "
        f"{(customers.size() - before) / 1e6:.0f} MB",
    )
    assert len(delays) == len(busy.acknowledged)
    assert p95(sorted(busy.seconds)) <= size(10.0, 1.5 * p95(sorted(quiet.seconds)) + 0.2)

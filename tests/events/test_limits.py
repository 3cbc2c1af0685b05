"""Documents, pages and nginx state the limits of webhooks, deliveries and events as the code has them."""

import re
from datetime import timedelta

import pytest

from integrations import webhooks
from integrations.events import leased_queue, quotas, routing, verification, webhook_addresses
from integrations.management.commands import worker
from integrations.models import Event, leases
from tests.support.running_app import ROOT

pytestmark = pytest.mark.once


def quota(of: quotas.Quota, between: str = "and") -> str:
    return f"{of.number:,} {between} {of.size // quotas.MIB} MiB"


STATED = [
    ("docs/webhooks.md", f"room for {quota(quotas.MOST_PARKED, 'parked deliveries and')} in all"),
    ("docs/webhooks.md", f"own addresses have at most {quota(quotas.MOST_OF_ONE)} of it"),
    (
        "docs/webhooks.md",
        f"never connected has {quota(quotas.NEW_PARKED)} parked, and {quota(quotas.NEW_WAITING)} waiting",
    ),
    ("docs/webhooks.md", f"A connection with {routing.MOST_OPEN:,} waiting events gets no more"),
    ("docs/webhooks.md", f"whose waiting events have {quotas.MOST_WAITING.size // quotas.MIB} MiB"),
    ("docs/webhooks.md", f"Of deliveries that say the same of one event {quota(quotas.MOST_COPIES, 'are kept, or')}"),
    ("docs/webhooks.md", f"tells when {quotas.NEARLY:.0%} is used"),
    ("docs/webhooks.md", f"tried again with growing pauses, up to {Event.MOST_ATTEMPTS} times"),
    ("docs/webhooks.md", f"stays valid for {webhook_addresses.OLD_STAYS_VALID.days} days"),
    ("docs/backup.md", f"of parked deliveries at most {quotas.MOST_PARKED.number:,} stay"),
    ("docs/deploy.md", f"bodies over {webhooks.MOST_BYTES // 1024} KiB at the webhook's address"),
]


@pytest.mark.parametrize(("document", "words"), STATED, ids=[words for _, words in STATED])
def test_a_document_states_the_limit(document: str, words: str) -> None:
    assert words in " ".join((ROOT / document).read_text().split())


def test_nginx_refuses_the_same_bodies_as_the_endpoint() -> None:
    site = (ROOT / "deploy" / "nginx" / "connect.conf").read_text()
    most = re.search(r"location /webhooks/ \{[^}]*client_max_body_size (\d+)k;", site)
    assert most and int(most[1]) * 1024 == webhooks.MOST_BYTES


def test_the_page_says_how_long_a_replaced_address_works() -> None:
    view = (ROOT / "integrations" / "views" / "webhook_addresses.py").read_text()
    assert "works for two more weeks" in view
    assert timedelta(weeks=2) == webhook_addresses.OLD_STAYS_VALID


def test_no_minute_holds_more_than_sixty_failed_look_ups() -> None:
    windows = timedelta(minutes=1) // verification.WINDOW + 1
    assert windows * verification.MOST_IN_A_WINDOW <= 60


def test_work_of_a_killed_process_is_taken_up_within_a_minute() -> None:
    assert leases.LEASE + timedelta(seconds=worker.SWEEP_SECONDS) <= timedelta(minutes=1)
    assert timedelta(seconds=leased_queue.RENEW_AFTER) < leases.LEASE / 2

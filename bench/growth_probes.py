"""Measures one database: `python -m bench.growth_probes`, with its DATABASE_URL, does what each line of input asks for.

`bench.growth` starts one for the small and one for the large database. Pages are requested by Django's test client in
this process: what is measured is the product and its database, without a network.
"""

import base64
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "connectapp.settings"
django.setup()

from django.conf import settings  # noqa: E402
from django.contrib import admin  # noqa: E402
from django.db import connection as database  # noqa: E402
from django.db import transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from accounts.models import AuditEntry, Customer, Membership, Role, User  # noqa: E402
from bench import seeding  # noqa: E402
from integrations.background import jobs  # noqa: E402
from integrations.events.selection import Selection  # noqa: E402
from integrations.models import Connection, ConnectionTest, Delivery, Event  # noqa: E402
from integrations.operations import retention  # noqa: E402
from integrations.tokens import encryption, key_rotation  # noqa: E402
from integrations.views.events import csv_rows  # noqa: E402
from tests.support.query_plans import tables_read_whole  # noqa: E402

# With DEBUG Django keeps every query.
settings.DEBUG = False
settings.ALLOWED_HOSTS = ["localhost"]

BODY = b'{"sType": "Create_Inspection", "iInspectionID": 1, "iCompanyID": 4}'
CSV_ROWS = 4000
EVENTS_OF_SMALL_CUSTOMER = 8
ADMIN = {
    "events": Event, "deliveries": Delivery, "connections": Connection, "customers": Customer,
    "audit trail": AuditEntry, "people": User, "memberships": Membership, "tests": ConnectionTest,
}  # fmt: skip
# They read a whole column, so lists are measured with and without them.
HIERARCHIES = {model: admin.site._registry[model].date_hierarchy for model in ADMIN.values()}
Probe = Callable[[], float]


def timed(act: Callable[[], Any]) -> float:
    """Seconds."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


class Rollback(Exception):
    pass


class Probes:
    """Everything that is measured, by its name; a probe returns seconds."""

    def __init__(self) -> None:
        large = Customer.objects.get(code=seeding.rows.code(seeding.customers.LARGE))
        # A small customer with one connection and about as many events in every database.
        middle = seeding.rows.code(Customer.objects.count() // 2)
        small = min(
            (
                customer
                for customer in Customer.objects.filter(code__gt=middle).order_by("pk")[:50]
                if customer.connections.filter(state="connected").count() == 1
            ),
            key=lambda customer: abs(
                Event.objects.filter(connection__customer=customer).count() - EVENTS_OF_SMALL_CUSTOMER
            ),
        )
        staff, _ = User.objects.get_or_create(email="staff@seed.example", is_staff=True, is_superuser=True)
        self.anonymous, self.staff = Client(SERVER_NAME="localhost"), self._signed_in(staff)
        self.owner_of_large, self.owner_of_small = (
            self._signed_in(each.members.get(memberships__role=Role.OWNER, memberships__customer=each))
            for each in (large, small)
        )
        self.large = large
        self.rows_shown = 0  # of the last page
        events = Event.objects.filter(connection__customer=large)
        old = events.order_by("received_at")[events.count() // 3]
        one = Event.objects.filter(connection__customer=small).latest("pk")
        a, b = f"/c/{small.code}/", f"/c/{large.code}/"
        webhook = f"/webhooks/snapinspect/{settings.SNAPINSPECT_WEBHOOK_SECRETS[0]}/"
        self.all: dict[str, Probe] = {
            "webhook: one delivery": lambda: self._deliver(webhook),
            "dashboard": lambda: self._page(self.owner_of_small, a),
            "dashboard of the large customer": lambda: self._page(self.owner_of_large, b),
            "connections": lambda: self._page(self.owner_of_small, f"{a}connections/"),
            "events, first page": lambda: self._page(self.owner_of_small, f"{a}events/"),
            "events of the large customer, first page": lambda: self._page(self.owner_of_large, f"{b}events/"),
            "the same, an old page": lambda: self._page(self.owner_of_large, f"{b}events/?before={old.code}"),
            "the same, failed ones": lambda: self._page(self.owner_of_large, f"{b}events/?state=failed"),
            "the same, one inspection": lambda: self._page(self.owner_of_large, f"{b}events/?q={old.inspection_id}"),
            "one event": lambda: self._page(self.owner_of_small, f"{a}events/{one.code}/"),
            "one event of the large customer": lambda: self._page(self.owner_of_large, f"{b}events/{old.code}/"),
            "audit log": lambda: self._page(self.owner_of_small, f"{a}audit/"),
            **{f"admin: {name}": self._list(model) for name, model in ADMIN.items()},
            "admin: failed events": lambda: self._page(self.staff, "/admin/integrations/event/?state__exact=failed"),
            "operations page": lambda: self._page(self.staff, "/staff/operations/"),
            "/health/ready": lambda: self._page(self.anonymous, "/health/ready"),
            "sweep": lambda: timed(jobs.sweep),
            "prune --dry-run": lambda: timed(lambda: [retention.due(rule) for rule in retention.RULES]),
            "prune, a batch of each kind": lambda: timed(self._prune),
            "one row of a CSV file": self._csv_row,
            **{
                f"date hierarchy: {name}": self._list(model, hierarchy=True)
                for name, model in ADMIN.items()
                if HIERARCHIES[model]
            },
            **{f"search: {name}": self._search(ADMIN[name]) for name in ("customers", "connections", "people")},
        }

    @staticmethod
    def _signed_in(user: User) -> Client:
        browser = Client(SERVER_NAME="localhost")
        browser.force_login(user)
        return browser

    def time(self, name: str) -> tuple[float, int]:
        """Seconds, and the number of table rows if it is a page."""
        self.rows_shown = 0
        return self.all[name](), self.rows_shown

    def _page(self, browser: Client, path: str) -> float:
        started = time.perf_counter()
        answer = browser.get(path)
        seconds = time.perf_counter() - started
        assert answer.status_code == 200, (path, answer.status_code)
        self.rows_shown = answer.content.count(b"<tr")
        return seconds

    def _list(self, model: Any, *, hierarchy: bool = False) -> Probe:
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"

        def probe() -> float:
            setattr(admin.site._registry[model], "date_hierarchy", HIERARCHIES[model] if hierarchy else None)  # noqa: B010
            return self._page(self.staff, path)

        return probe

    def _search(self, model: Any) -> Probe:
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/?q=Harbour+zzz"
        return lambda: self._page(self.staff, path)

    def _deliver(self, path: str) -> float:
        seconds = timed(lambda: self.anonymous.post(path, BODY, content_type="application/json"))
        Delivery.objects.received().delete()
        return seconds

    @staticmethod
    def _prune() -> None:
        with suppress(Rollback), transaction.atomic():
            for rule in retention.RULES:
                next(retention.prune(rule, batch=100), 0)
            raise Rollback

    def _csv_row(self) -> float:
        started = time.perf_counter()
        rows = sum(1 for _ in islice(csv_rows(Selection().of(self.large)), CSV_ROWS))
        return (time.perf_counter() - started) / rows

    def scans(self, name: str, beyond: int) -> list[str]:
        """The tables of which PostgreSQL reads more rows than that without an index."""
        self.all[name]()
        with CaptureQueriesContext(database) as captured:
            self.all[name]()
        queries = [query["sql"] for query in captured.captured_queries]
        return sorted({table for sql in queries for table in tables_read_whole(sql, beyond=beyond)})


class LimitReached(Exception):
    pass


def write_csv(probes: Probes, count: Callable[[int], None]) -> None:
    for _ in csv_rows(Selection().of(probes.large)):
        count(1)


def prune(probes: Probes, count: Callable[[int], None]) -> None:
    for rule in retention.RULES:
        for rows in retention.prune(rule):
            count(rows)


def reseal(probes: Probes, count: Callable[[int], None]) -> None:
    # With a new key in front, everything that is stored has to be encrypted again.
    new = encryption.parse_keys(base64.b64encode(os.urandom(encryption.KEY_BYTES)).decode())
    settings.TOKEN_ENCRYPTION_KEYS = (*new, *settings.TOKEN_ENCRYPTION_KEYS)
    key_rotation.reseal(progress=count)


BATCH_JOBS: dict[str, Callable[[Probes, Callable[[int], None]], None]] = {
    "the large customer's events as CSV": write_csv,
    "prune": prune,
    "reseal_tokens": reseal,
}


def run_batch_job(probes: Probes, name: str, limit: int) -> dict[str, float]:
    """Rows (up to `limit`), seconds, and by how many MiB the peak memory of this process rose."""
    rows = 0

    def count(more: int) -> None:
        nonlocal rows
        rows += more
        if rows >= limit:
            raise LimitReached

    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with suppress(LimitReached):
        BATCH_JOBS[name](probes, count)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rows": rows, "seconds": seconds, "mebibytes": (after - before) / 2**10}


def main() -> None:
    probes = Probes()
    methods: dict[str, Callable[..., Any]] = {
        "time": probes.time,
        "scans": probes.scans,
        "run_batch_job": lambda name, limit: run_batch_job(probes, name, limit),
    }
    print(json.dumps({"probes": list(probes.all), "batch_jobs": list(BATCH_JOBS)}), flush=True)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        print(json.dumps(methods[method](*arguments)), flush=True)


if __name__ == "__main__":
    main()

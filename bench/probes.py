"""One database, asked again and again: a process that does what each line it reads names, and says how long it took.

`python -m bench.probes`, with DATABASE_URL; started by bench.growth, one for each database, so that both are measured
in turn. Pages are asked for through Django's own test client, in this process: what is measured is the product and its
database, not a network.
"""

import base64
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
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
from integrations.views.events import _rows  # noqa: E402

# With DEBUG Django keeps every query: that is not what is measured.
settings.DEBUG = False
settings.ALLOWED_HOSTS = ["localhost"]

BODY = b'{"sType": "Create_Inspection", "iInspectionID": 1, "iCompanyID": 4}'
ROWS_OF_A_FILE = 4000
EVENTS_OF_THE_MANY = 8
# Lists of the admin count no further than a half of this.
VERY_MANY = 20_000
ADMIN = {
    "events": Event, "deliveries": Delivery, "connections": Connection, "customers": Customer,
    "audit trail": AuditEntry, "people": User, "memberships": Membership, "tests": ConnectionTest,
}  # fmt: skip
# These stand above some lists of the admin and read a whole column; told apart from the rest.
HIERARCHIES = {model: admin.site._registry[model].date_hierarchy for model in ADMIN.values()}
Probe = Callable[[], float]


def timed(what: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


class Undone(Exception):
    """Ends a transaction that leaves nothing behind."""


class Probes:
    """Everything that can be measured, by its name."""

    def __init__(self) -> None:
        big = Customer.objects.get(code=seeding.rows.code(0))
        # One of the many: with one connection, and about as many events in every database.
        middle = seeding.rows.code(Customer.objects.count() // 2)
        small = min(
            (
                customer
                for customer in Customer.objects.filter(code__gt=middle).order_by("pk")[:50]
                if customer.connections.filter(state="connected").count() == 1
            ),
            key=lambda customer: abs(Event.objects.filter(connection__customer=customer).count() - EVENTS_OF_THE_MANY),
        )
        staff, _ = User.objects.get_or_create(email="staff@seed.example", is_staff=True, is_superuser=True)
        self.stranger, self.staff = Client(SERVER_NAME="localhost"), self._signed_in(staff)
        self.owner, self.owner_of_small = (
            self._signed_in(c.members.get(memberships__role=Role.OWNER, memberships__customer=c)) for c in (big, small)
        )
        self.big = big
        self.drawn = 0  # rows of the page that was asked for last
        of_big = Event.objects.filter(connection__customer=big)
        deep = of_big.order_by("received_at")[of_big.count() // 3]
        one = Event.objects.filter(connection__customer=small).latest("pk")
        a, b = f"/c/{small.code}/", f"/c/{big.code}/"
        secret = settings.SNAPINSPECT_WEBHOOK_SECRETS[0]
        self.all: dict[str, Probe] = {
            "the door: one delivery": lambda: self._door(f"/webhooks/snapinspect/{secret}/"),
            "dashboard": lambda: self._page(self.owner_of_small, a),
            "dashboard of the big customer": lambda: self._page(self.owner, b),
            "connections": lambda: self._page(self.owner_of_small, f"{a}connections/"),
            "events, first page": lambda: self._page(self.owner_of_small, f"{a}events/"),
            "events of the big customer, first page": lambda: self._page(self.owner, f"{b}events/"),
            "the same, a page far back": lambda: self._page(self.owner, f"{b}events/?before={deep.code}"),
            "the same, those that failed": lambda: self._page(self.owner, f"{b}events/?state=failed"),
            "the same, one inspection": lambda: self._page(self.owner, f"{b}events/?q={deep.inspection_id}"),
            "one event": lambda: self._page(self.owner_of_small, f"{a}events/{one.code}/"),
            "one event of the big customer": lambda: self._page(self.owner, f"{b}events/{deep.code}/"),
            "audit log": lambda: self._page(self.owner_of_small, f"{a}audit/"),
            **{f"admin: {name}": self._list(model) for name, model in ADMIN.items()},
            "admin: events that failed": lambda: self._page(
                self.staff, "/admin/integrations/event/?state__exact=failed"
            ),
            "operations page": lambda: self._page(self.staff, "/staff/operations/"),
            "/health/ready": lambda: self._page(self.stranger, "/health/ready"),
            "sweep": lambda: timed(jobs.sweep),
            "prune --dry-run": lambda: timed(lambda: [retention.due(rule) for rule in retention.RULES]),
            "prune, a batch of each kind": self._prune,
            "a row of a CSV file": self._file,
            **{
                f"date hierarchy: {name}": self._list(model, hierarchy=True)
                for name, model in ADMIN.items()
                if HIERARCHIES[model]
            },
            **{
                f"search: {name}": self._search(model)
                for name, model in {"customers": Customer, "connections": Connection, "people": User}.items()
            },
        }

    @staticmethod
    def _signed_in(user: User) -> Client:
        browser = Client(SERVER_NAME="localhost")
        browser.force_login(user)
        return browser

    def ask(self, name: str) -> tuple[float, int]:
        """Seconds, and how many rows of a list were drawn, if it is a page."""
        self.drawn = 0
        return self.all[name](), self.drawn

    def _page(self, browser: Client, path: str) -> float:
        begun = time.perf_counter()
        answer = browser.get(path)
        spent = time.perf_counter() - begun
        assert answer.status_code == 200, (path, answer.status_code)
        self.drawn = answer.content.count(b"<tr")
        return spent

    def _list(self, model: Any, *, hierarchy: bool = False) -> Probe:
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"

        def probe() -> float:
            setattr(admin.site._registry[model], "date_hierarchy", HIERARCHIES[model] if hierarchy else None)  # noqa: B010
            return self._page(self.staff, path)

        return probe

    def _search(self, model: Any) -> Probe:
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/?q=Harbour+zzz"
        return lambda: self._page(self.staff, path)

    def _door(self, path: str) -> float:
        spent = timed(lambda: self.stranger.post(path, BODY, content_type="application/json"))
        Delivery.objects.received().delete()
        return spent

    @staticmethod
    def _prune() -> float:
        begun = time.perf_counter()
        try:
            with transaction.atomic():
                for rule in retention.RULES:
                    next(retention.prune(rule, batch=100), 0)
                raise Undone
        except Undone:
            return time.perf_counter() - begun

    def _file(self) -> float:
        """Seconds for each row of the big customer's file, from its first row on."""
        begun = time.perf_counter()
        rows = sum(1 for _ in islice(_rows(Selection().of(self.big)), ROWS_OF_A_FILE))
        return (time.perf_counter() - begun) / rows

    def plans(self, name: str) -> list[str]:
        """The tables of which PostgreSQL reads very many rows for this, without an index."""
        self.all[name]()
        with CaptureQueriesContext(database) as asked:
            self.all[name]()
        return sorted({table for query in asked.captured_queries for table in _read_whole(query["sql"])})


def _read_whole(sql: str) -> Iterator[str]:
    if not sql.startswith("SELECT"):
        return
    with database.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}".replace("%", "%%"))
        answer = cursor.fetchone()[0]
    nodes = [(json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        read = node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        if node["Node Type"] == "Seq Scan" and read > VERY_MANY:
            yield node["Relation Name"]


class Enough(Exception):
    """So many rows tell what the others would."""


def write_file(probes: Probes, count: Callable[[int], None]) -> None:
    for _ in _rows(Selection().of(probes.big)):
        count(1)


def prune(probes: Probes, count: Callable[[int], None]) -> None:
    for rule in retention.RULES:
        for rows in retention.prune(rule):
            count(rows)


def reseal(probes: Probes, count: Callable[[int], None]) -> None:
    # A newer key: everything that is stored has to move.
    newer = encryption.parse_keys(base64.b64encode(os.urandom(encryption.KEY_BYTES)).decode())
    settings.TOKEN_ENCRYPTION_KEYS = (*newer, *settings.TOKEN_ENCRYPTION_KEYS)
    key_rotation.reseal(progress=count)


LONG: dict[str, Callable[[Probes, Callable[[int], None]], None]] = {
    "the big customer's events as CSV": write_file,
    "prune": prune,
    "reseal_tokens": reseal,
}


def long_run(probes: Probes, name: str, most: int) -> dict[str, float]:
    """Rows, seconds, and by how much (MiB) this has raised the most memory that the process ever had."""
    rows = 0

    def count(more: int) -> None:
        nonlocal rows
        rows += more
        if rows >= most:
            raise Enough

    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with suppress(Enough):
        LONG[name](probes, count)
    spent, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rows": rows, "seconds": spent, "process": after / 2**10, "raised": (after - before) / 2**10}


def main() -> None:
    probes = Probes()
    answers: dict[str, Callable[[str], Any]] = {
        "time": probes.ask,
        "plans": probes.plans,
        "long": lambda name: long_run(probes, name.partition(" ")[2], int(name.partition(" ")[0])),
    }
    print(json.dumps({"names": list(probes.all), "long": list(LONG)}), flush=True)
    for line in sys.stdin:
        what, _, name = line.strip().partition(" ")
        print(json.dumps(answers[what](name)), flush=True)


if __name__ == "__main__":
    main()

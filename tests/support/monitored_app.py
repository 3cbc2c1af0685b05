"""A deployment that Prometheus watches, and time that is made up."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta

from django.apps import apps
from django.db import DatabaseError, models, transaction
from django.db import connection as database
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import F
from django.test import Client
from pytest_django import Settings

from integrations.background import jobs
from integrations.models import Connection, Delivery
from tests.operations.test_metrics import BEARER
from tests.support.clients import Sandbox
from tests.support.deliveries import payload, post
from tests.support.prometheus import Prometheus

SCRAPES_APART = 15.0  # seconds


class MonitoredApp:
    """A deployment with some connections, its workers, and the Prometheus that watches it."""

    def __init__(self, sandbox: Sandbox, connections: list[Connection], settings: Settings) -> None:
        self.sandbox = sandbox
        self.settings = settings
        self.connections = connections
        self.prometheus = Prometheus()
        self.sweeps = self.works = True
        self.busy = 1  # deliveries between two scrapes
        self._until_the_end = ExitStack()

    def pass_time(self, seconds: float) -> set[str]:
        """Moves all times back, then delivers, sweeps, works and scrapes. Returns the alarms that fire."""
        _move_back(timedelta(seconds=seconds))
        for number in range(self.busy):
            self.deliver(self.connections[number % len(self.connections)])
        with suppress(DatabaseError):  # as manage.py worker has it
            if self.sweeps:
                jobs.sweep(by="host-1, process 7")
        with suppress(DatabaseError):
            if self.works:
                jobs.work_off()
        return self.prometheus.step(self.scrape(), after=seconds)

    def scrape(self) -> str:
        answer = Client().get("/metrics", headers=BEARER)
        assert answer.status_code == 200
        return answer.text

    def deliver(self, connection: Connection) -> None:
        """An inspection is uploaded, and SnapInspect says so."""
        made = self.sandbox.control("POST", "inspections", {"company": int(connection.company_id)})
        post(payload(inspection=made["iInspectionID"], iCompanyID=int(connection.company_id)))

    def during(self, fault: AbstractContextManager[None]) -> None:
        self._until_the_end.enter_context(fault)

    def end(self) -> None:
        self._until_the_end.close()


def _move_back(passed: timedelta) -> None:
    with transaction.atomic():
        for model in apps.get_app_config("integrations").get_models():
            moments = [field.name for field in model._meta.fields if isinstance(field, models.DateTimeField)]
            if moments:
                rows = model._default_manager.all()
                if model is Delivery:
                    rows = rows.exclude(state=Delivery.State.UNMATCHED)  # thousands, and nobody asks how old they are
                rows.update(**{name: F(name) - passed for name in moments})


@contextmanager
def refused_writes(table: str, column: str, condition: str) -> Iterator[None]:
    """The database refuses rows of this table that do not meet the condition."""
    where = f"NOT ({condition})"
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT fault CHECK ({condition}) NOT VALID")
        else:
            for event in ("INSERT", f"UPDATE OF {column}"):
                of_new_rows = where.replace(column, f"NEW.{column}")
                cursor.execute(
                    f"CREATE TRIGGER fault_{event[:6]} BEFORE {event} ON {table} WHEN {of_new_rows}"
                    " BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
                )
    yield
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT fault")
        else:
            cursor.execute("DROP TRIGGER fault_INSERT")
            cursor.execute("DROP TRIGGER fault_UPDATE")


@contextmanager
def older_tables() -> Iterator[None]:
    applied = MigrationRecorder.Migration.objects.filter(app="integrations")
    kept = list(applied)
    applied.delete()
    yield
    applied.bulk_create(kept)

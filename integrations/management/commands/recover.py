from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand

from integrations.calls import api_client
from integrations.events import leased_queue, recovery
from integrations.models import Connection, EventQueue


def moment(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError("not a date and time as in 2025-01-31T18:00") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = (
        "Asks SnapInspect which inspections have changed since a time, and creates events for those without a webhook "
        "delivery, marked as recovered. Workers do this by themselves after an outage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", type=moment, required=True, help="ISO 8601; UTC unless it says otherwise")
        parser.add_argument("--connection", metavar="CODE", help="only this connection")
        parser.add_argument("--dry-run", action="store_true", help="only print how many events it would check")

    def handle(self, *, since: datetime, connection: str | None, dry_run: bool, **options: Any) -> None:
        if not recovery.is_configured():
            self.stdout.write(
                "SNAPINSPECT_CHANGES_PATH is not set, so SnapInspect cannot be asked what has changed. Deliveries that "
                "it gave up on (five tries in two hours) cannot be recovered; later ones come by themselves."
            )
            return
        wanted = Connection.objects.usable().order_by("pk")
        for row in wanted.filter(code=connection) if connection else wanted:
            self.stdout.write(f"{row.code} {row.label}: {self._recovered(row, since, dry_run)}")

    @staticmethod
    def _recovered(connection: Connection, since: datetime, dry_run: bool) -> str:
        try:
            EventQueue.objects.wake([connection.pk])
            report = recovery.recover(connection, since=since, dry_run=dry_run)
        except api_client.NoAnswer as no:
            return f"SnapInspect did not answer ({no.error_kind}); try again later"
        except leased_queue.LostLease:
            return "a worker is busy with it; try again in a minute"
        verb = "would be checked" if dry_run else "are checked now"
        incomplete = f"; may be incomplete: {report.flag}" if report.flag else ""
        return f"{report.listed} listed on {report.pages} pages, {report.made} {verb}{incomplete}"

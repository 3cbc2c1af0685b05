import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm

from integrations import seeding


class Command(BaseCommand):
    help = (
        "Fills a database with made-up customers, connections and events, for trying things out at size. Adds what is"
        " missing to the numbers asked for: may be stopped, and run again. No token in it was ever issued, and nobody"
        " in it has a password. For a database of its own: refuses with DEBUG off."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--customers", type=int, default=100, help="seeded customers in all (default: %(default)s)")
        parser.add_argument("--events", type=int, default=1000, help="seeded events in all (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="the same number makes the same rows")
        parser.add_argument("--dry-run", action="store_true", help="only say how much would be added")
        parser.add_argument(
            "--in-production", action="store_true", help="do it with DEBUG off, too: beside what is real there"
        )

    def handle(
        self, *, customers: int, events: int, seed: int, dry_run: bool, in_production: bool, **options: Any
    ) -> None:
        if min(customers, events) < 0:
            raise CommandError("There cannot be fewer than none.")
        if not settings.DEBUG and not in_production:
            raise CommandError("DEBUG is off: made-up customers do not belong beside real ones. See --in-production.")
        plan = seeding.plan(customers=customers, events=events)
        missing = f"{len(plan.customers):,} customers and {len(plan.events):,} events"
        if dry_run:
            self.stdout.write(f"{missing} would be added.")
            return
        now = timezone.now()
        try:
            self._show("customers", plan.customers, seeding.add_customers(plan.customers, seed=seed, now=now))
            self._show("events", plan.events, seeding.add_events(plan.events, seed=seed, now=now))
        except seeding.NothingToHangOn:
            raise CommandError("Events belong to connections: ask for some --customers, too.") from None
        self.stdout.write(f"{missing} were added.")

    @staticmethod
    def _show(what: str, numbers: range, batches: Iterator[int]) -> None:
        # No bar where nobody watches (disable=None).
        with tqdm(desc=what, total=len(numbers), disable=None, file=sys.stderr) as bar:
            for rows in batches:
                bar.update(rows)

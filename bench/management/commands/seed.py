import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm

from bench import seeding


class Command(BaseCommand):
    help = (
        "Adds made-up customers, connections and events, up to the numbers asked for; may be interrupted and run again."
        " Nobody in them has a password, no token was ever issued. For a database that is used for nothing else."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--customers", type=int, default=100, help="seeded customers in all (default: %(default)s)")
        parser.add_argument("--events", type=int, default=1000, help="seeded events in all (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same rows")
        parser.add_argument("--dry-run", action="store_true", help="only say how much would be added")

    def handle(self, *, customers: int, events: int, seed: int, dry_run: bool, **options: Any) -> None:
        if min(customers, events) < 0:
            raise CommandError("The numbers must not be negative.")
        plan = seeding.plan(customers=customers, events=events)
        missing = f"{len(plan.customers):,} customers and {len(plan.events):,} events"
        if dry_run:
            self.stdout.write(f"{missing} would be added.")
            return
        now = timezone.now()
        try:
            self._run("customers", plan.customers, seeding.add_customers(plan.customers, seed=seed, now=now))
            self._run("events", plan.events, seeding.add_events(plan.events, seed=seed, now=now))
        except seeding.NoConnections:
            raise CommandError("Events belong to connections: ask for some --customers, too.") from None
        self.stdout.write(f"{missing} were added.")

    @staticmethod
    def _run(name: str, numbers: range, batches: Iterator[int]) -> None:
        # disable=None: no progress bar unless standard error is a terminal.
        with tqdm(desc=name, total=len(numbers), disable=None, file=sys.stderr) as bar:
            for rows in batches:
                bar.update(rows)

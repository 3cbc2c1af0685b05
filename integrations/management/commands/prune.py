import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from integrations.operations import retention


class Command(BaseCommand):
    help = (
        "Deletes what is older than its stated retention: see docs/backup.md. Works in small batches while everything"
        " runs; may be stopped, and run again. Meant for once a day."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many rows would go")
        parser.add_argument(
            "--batch-size", type=int, default=retention.BATCH, help="rows in a transaction (default: %(default)s)"
        )

    def handle(self, *, dry_run: bool, batch_size: int, **options: Any) -> None:
        if batch_size < 1:
            raise CommandError("--batch-size must be at least 1.")
        for rule in retention.RULES:
            rows = retention.due(rule) if dry_run else self._prune(rule, batch_size)
            age = f"{rule.kept.days} days after {rule.since}" if rule.kept else f"after {rule.since}"
            self.stdout.write(f"{rows:>9} {rule.what}, kept until {age}{' would go' if dry_run else ''}")

    @staticmethod
    def _prune(rule: retention.Rule, batch_size: int) -> int:
        gone = 0
        # No bar where nobody watches (disable=None).
        with tqdm(desc=rule.what, unit="row", disable=None, file=sys.stderr, leave=False) as bar:
            for rows in retention.prune(rule, batch=batch_size):
                gone += rows
                bar.update(rows)
        return gone

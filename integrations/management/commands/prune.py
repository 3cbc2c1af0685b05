import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from tqdm import tqdm

from integrations.operations import retention


class Command(BaseCommand):
    help = (
        "Deletes rows that are older than their retention (docs/backup.md), in small batches. May be"
        " stopped and run again. Run it once a day."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print how many rows would be deleted")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        for rule in retention.RULES:
            rows = retention.due(rule) if dry_run else self._prune(rule)
            age = f"{rule.kept.days} days after {rule.since}" if rule.kept else f"after {rule.since}"
            self.stdout.write(f"{rows:>9} {rule.what}, kept until {age}{' would be deleted' if dry_run else ''}")

    @staticmethod
    def _prune(rule: retention.Rule) -> int:
        gone = 0
        # disable=None: no progress bar without a terminal.
        with tqdm(desc=rule.what, unit="row", disable=None, file=sys.stderr, leave=False) as bar:
            for rows in retention.prune(rule):
                gone += rows
                bar.update(rows)
        return gone

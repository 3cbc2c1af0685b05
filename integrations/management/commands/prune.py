import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from tqdm import tqdm

from integrations.operations import retention


class Command(BaseCommand):
    help = (
        "Deletes what is older than its stated retention: see docs/backup.md. Works in small batches while everything"
        " runs; may be stopped, and run again. Meant for once a day."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many rows would go")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        for rule in retention.RULES:
            rows = retention.due(rule) if dry_run else self._prune(rule)
            age = f"{rule.kept.days} days after {rule.since}" if rule.kept else f"after {rule.since}"
            self.stdout.write(f"{rows:>9} {rule.what}, kept until {age}{' would go' if dry_run else ''}")

    @staticmethod
    def _prune(rule: retention.Rule) -> int:
        gone = 0
        # No bar where nobody watches (disable=None).
        with tqdm(desc=rule.what, unit="row", disable=None, file=sys.stderr, leave=False) as bar:
            for rows in retention.prune(rule):
                gone += rows
                bar.update(rows)
        return gone

import socket
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from integrations.background import jobs


class Command(BaseCommand):
    help = "Makes due what was forgotten and says how much is due. Every worker does this by itself, again and again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print how many rows are due")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        if not dry_run:
            jobs.sweep(by=f"manage.py sweep on {socket.gethostname()[:40]}")
        self.stdout.write(f"{jobs.due()} due")

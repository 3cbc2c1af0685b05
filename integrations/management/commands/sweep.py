import socket
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from integrations.background import jobs


class Command(BaseCommand):
    help = "Looks once for work that is due, and wakes a worker for it. Workers do this themselves every few seconds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print how many rows are due")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        due = jobs.due() if dry_run else jobs.sweep(by=f"manage.py sweep on {socket.gethostname()[:40]}")
        self.stdout.write(f"{due} due")

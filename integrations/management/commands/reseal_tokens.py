import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from integrations.tokens import encryption, key_rotation, keys


class Command(BaseCommand):
    help = (
        "Encrypts every stored token with the newest key of TOKEN_ENCRYPTION_KEYS, while the app runs. May be killed,"
        " and run again. --dry-run prints which keys are still needed. Exits with 1 if a row could not be decrypted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print how many rows each key has encrypted")
        parser.add_argument(
            "--give-up",
            metavar="KEY",
            help="erase what this lost key has encrypted; the owners are asked to connect again",
        )

    def handle(self, *, dry_run: bool, give_up: str | None, **options: Any) -> None:
        if dry_run:
            self._tell_keys()
        elif give_up is not None:
            self._give_up(give_up)
        else:
            self._reseal()

    def _tell_keys(self) -> None:
        newest, *older = encryption.key_ids()
        used = keys.rows_by_key()
        self.stdout.write(f"{newest}  {used.pop(newest, 0):>8} rows  the newest key")
        for key_id in older:
            rows = used.pop(key_id, 0)
            self.stdout.write(f"{key_id}  {rows:>8} rows  {'to be resealed' if rows else 'may be removed'}")
        for key_id, rows in used.items():
            self.stdout.write(f"{key_id}  {rows:>8} rows  NOT CONFIGURED: they cannot be opened")

    def _give_up(self, key_id: str) -> None:
        try:
            connections = key_rotation.erase_sealed_by(key_id)
        except ValueError as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"Erased what key {key_id} sealed: {connections} connections need a person now.")

    def _reseal(self) -> None:
        newest = encryption.key_ids()[0]
        # disable=None: no progress bar without a terminal.
        with tqdm(total=key_rotation.outdated(), unit="row", disable=None, file=sys.stderr) as bar:
            report = key_rotation.reseal(progress=bar.update)
        self.stdout.write(f"{report.resealed} rows are now sealed by key {newest}.")
        for key_id, rows in report.left.items():
            self.stdout.write(f"Key {key_id} still seals {rows} rows.")
        if report.unused:
            self.stdout.write(f"Not needed any more, may be removed: {', '.join(report.unused)}.")
        if report.not_opened:
            more = ", and more" if len(report.codes) == key_rotation.MAX_CODES else ""
            raise CommandError(
                f"{report.not_opened} rows could not be opened and stay as they are. Connections:"
                f" {', '.join(report.codes)}{more}."
            )
        if report.left:
            self.stdout.write("A process with an older list of keys wrote them: restart all, and run this again.")

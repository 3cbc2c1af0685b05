import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from accounts import audit
from accounts.models import Customer
from integrations.operations import export


class Command(BaseCommand):
    help = (
        "Exports all data of a customer to a file of JSON lines, in constant memory, while the app runs. Without tokens"
        " and other secrets. Owners download the same from their company's page."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("code", help="the customer's code, as in the address of its pages")
        parser.add_argument("--to", type=Path, required=True, help="a new file, readable by you alone")

    def handle(self, *, code: str, to: Path, **options: Any) -> None:
        customer = Customer.objects.filter(code=code).first()
        if customer is None:
            raise CommandError(f"There is no customer with the code {code}.")
        try:
            to.touch(mode=0o600, exist_ok=False)
        except OSError as problem:
            raise CommandError(f"{to} cannot be made: {problem.strerror}.") from None
        audit.record("customer.exported", customer=customer)
        # disable=None: no progress bar without a terminal.
        with to.open("w", encoding="ascii") as file, tqdm(unit="line", disable=None, file=sys.stderr) as bar:
            for line in export.lines(customer):
                file.write(line)
                bar.update()
        self.stdout.write(f"Written: {to}")

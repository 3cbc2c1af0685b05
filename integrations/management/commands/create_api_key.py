from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Customer
from integrations.api import keys
from integrations.models import ApiKey, Scope


class Command(BaseCommand):
    help = "Makes a key of the API and prints it, once, as the only line. Without --customer it reaches every customer."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", required=True, help="what uses the key")
        parser.add_argument(
            "--scope", action="append", required=True, choices=Scope.values, help="what it may do; may be repeated"
        )
        parser.add_argument("--customer", help="the code of the only customer that it reaches")
        parser.add_argument("--expires-in-days", type=int, help="how long it is valid; without, until it is revoked")

    def handle(
        self, *, name: str, scope: list[str], customer: str | None, expires_in_days: int | None, **options: Any
    ) -> None:
        owner = None
        if customer is not None:
            owner = Customer.objects.filter(code=customer).first()
            if owner is None:
                raise CommandError(f"There is no customer with the code {customer}.")
        if expires_in_days is not None and not 0 < expires_in_days <= 3650:
            raise CommandError("--expires-in-days must be from 1 to 3650.")
        if not 0 < len(name) <= ApiKey.NAME_LENGTH:
            raise CommandError(f"--name must have 1 to {ApiKey.NAME_LENGTH} characters.")
        _, plain = keys.issue(
            name=name,
            scopes=scope,
            customer=owner,
            by="manage.py create_api_key",
            expires_in=timedelta(days=expires_in_days) if expires_in_days is not None else None,
        )
        self.stdout.write(plain)

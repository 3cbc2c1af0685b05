from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import Customer, User

PASSWORD = "property-demo"  # noqa: S105  (for a database on this machine: the command refuses anything else)


class Command(BaseCommand):
    help = "Makes one demo customer with its owner, and one staff user. Only with DEBUG on; leaves what exists alone."

    def handle(self, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("DEBUG is off: demo accounts have a password that everybody knows.")
        with transaction.atomic():
            owner = self._person("demo@example.com")
            if not owner.memberships.exists():
                Customer.objects.open("Demo Property Management", owner=owner)
            self._person("staff@example.com", is_staff=True, is_superuser=True)
        self.stdout.write(f"demo@example.com and, for the admin, staff@example.com; password {PASSWORD}")

    def _person(self, email: str, **fields: Any) -> User:
        user = User.objects.filter(email=email).first()
        if user is None:
            user = User.objects.create_user(email, PASSWORD, **fields)
            EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
        return user

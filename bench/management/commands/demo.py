from typing import Any

from allauth.account.models import EmailAddress
from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.models import Customer, User
from integrations.models import Panel

PASSWORD = "property-demo"
# Paths and names of the stand-in; the real SnapInspect's are not documented.
PANEL = {
    "title": "Latest inspections",
    "path": "inspections?sort=newest",
    "rows_at": "inspections",
    "columns": "Inspection: sTitle\nStatus: sStatus\nChanged: dtUpdated",
}


class Command(BaseCommand):
    help = (
        "Makes what `make run` starts with: a customer with its owner, a staff user, and a panel of the stand-in's"
        " inspections. Leaves alone what exists. Prints the sign-in."
    )

    def handle(self, **options: Any) -> None:
        with transaction.atomic():
            owner = self._user("demo@example.com")
            if not owner.memberships.exists():
                Customer.objects.create_with_owner("Demo Property Management", owner=owner)
            self._user("staff@example.com", is_staff=True, is_superuser=True)
            if not Panel.objects.exists():
                Panel.objects.create(**PANEL, is_active=True)
        self.stdout.write(f"demo@example.com and, for the admin, staff@example.com; password {PASSWORD}")

    def _user(self, email: str, **fields: Any) -> User:
        user = User.objects.filter(email=email).first()
        if user is None:
            user = User.objects.create_user(email, PASSWORD, **fields)
            EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
        return user

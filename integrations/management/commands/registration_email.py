from typing import Any

from django.core.management.base import BaseCommand

from integrations.events.webhook_addresses import registration_email


class Command(BaseCommand):
    help = (
        "Prints the e-mail that registers this app with SnapInspect's support. It holds the application's webhook "
        "address: whoever knows it can post for every customer."
    )

    def handle(self, **options: Any) -> None:
        self.stdout.write("To: support@snapinspect.com\n\n" + registration_email())

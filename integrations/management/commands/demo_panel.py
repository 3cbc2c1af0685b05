from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations.models import Panel

# Of the stand-in: what the real SnapInspect calls these, its documentation does not say.
EXAMPLE = {
    "title": "Latest inspections",
    "path": "inspections?sort=newest",
    "rows_at": "inspections",
    "columns": "Inspection: sTitle\nStatus: sStatus\nChanged: dtUpdated",
}


class Command(BaseCommand):
    help = "Makes an example panel of the stand-in's inspections. Only with DEBUG on, and where there is no panel yet."

    def handle(self, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("DEBUG is off: the example is made for the stand-in SnapInspect.")
        if not Panel.objects.exists():
            Panel.objects.create(**EXAMPLE, is_active=True)

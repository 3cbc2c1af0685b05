"""Deliveries are queued and sent in this process, now or after a time has passed."""

from datetime import timedelta

from django.db.models import F

from integrations.background import jobs
from integrations.models import OutgoingDelivery, WebhookEndpoint
from integrations.outgoing import delivery_actions


def send() -> None:
    """Sends what is due now."""
    jobs.work_off(jobs.OUTGOING)


def later(by: timedelta) -> None:
    """Sends what is due after that time."""
    for name in ("wait_until", "failing_since", "due_at", "lease_until"):
        rows = WebhookEndpoint.objects.filter(**{f"{name}__isnull": False})
        rows.update(**{name: F(name) - by})
    OutgoingDelivery.objects.update(next_try_at=F("next_try_at") - by)
    send()


def queue(endpoint: WebhookEndpoint, count: int = 1) -> list[OutgoingDelivery]:
    """So many messages for this endpoint."""
    return [delivery_actions.send_test(endpoint, by=None) for _ in range(count)]


def states() -> list[str]:
    """The states of all deliveries, in the order in which these were made."""
    return list(OutgoingDelivery.objects.order_by("pk").values_list("state", flat=True))

"""What people do with deliveries: send a test, and resend."""

import json

from django.db import transaction

from accounts import audit
from integrations.models import OutgoingDelivery, OutgoingMessage, WebhookEndpoint
from integrations.outgoing.message_types import TEST


def send_test(endpoint: WebhookEndpoint, *, by: audit.Actor) -> OutgoingDelivery:
    """Queues a test message for this endpoint alone, whatever types it has asked for."""
    customer = endpoint.customer
    named = {"code": customer.code, "external_id": customer.external_id or None} if customer else None
    with transaction.atomic():
        delivery = OutgoingMessage.objects.write_to(
            endpoint, TEST, json.dumps({"endpoint": endpoint.code, "customer": named})
        )
        audit.record("webhook_endpoint.tested", customer=customer, actor=by, endpoint=endpoint.code)
    return delivery


def resend(delivery: OutgoingDelivery, *, by: audit.Actor) -> bool:
    """Sends it again from the first try on, with the same `webhook-id`; whether it was not waiting already."""
    endpoint = delivery.endpoint
    with transaction.atomic():
        resent = OutgoingDelivery.objects.filter(pk=delivery.pk).reset() == 1
        if resent:
            audit.record(
                "webhook_endpoint.resent",
                customer=endpoint.customer,
                actor=by,
                endpoint=endpoint.code,
                delivery=delivery.code,
            )
    return resent

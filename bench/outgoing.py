"""Messages that wait for an endpoint: `python -m bench.outgoing` writes them, in the environment of a deployment."""

import json
import sys

import django

django.setup()

from integrations.models import OutgoingDelivery, OutgoingMessage, WebhookEndpoint  # noqa: E402
from integrations.outgoing import endpoints  # noqa: E402


def main(*, url: str, body: str, messages: int) -> int:
    WebhookEndpoint.objects.all().delete()
    OutgoingMessage.objects.all().delete()
    endpoint, _ = endpoints.create(url=url, types=["*"], by=None, customer=None)
    made = OutgoingMessage.objects.bulk_create(
        OutgoingMessage(type="inspection.created", body=body) for _ in range(messages)
    )
    return len(OutgoingDelivery.objects.queue([(message, endpoint) for message in made]))


if __name__ == "__main__":
    print(json.dumps(main(**json.load(sys.stdin))))

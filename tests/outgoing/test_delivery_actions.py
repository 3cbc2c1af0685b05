"""What people do with deliveries."""

import pytest

from accounts.models import User
from integrations.models import OutgoingDelivery, WebhookEndpoint
from integrations.outgoing import delivery_actions
from tests.outgoing.conftest import Made

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_test_goes_to_this_endpoint_alone_whatever_it_asks_for(make: Made, alice: User) -> None:
    make()
    endpoint, _ = make(types=["review.signed"])

    delivery = delivery_actions.send_test(endpoint, by=alice)

    assert OutgoingDelivery.objects.get() == delivery
    assert (delivery.message.type, delivery.state, delivery.endpoint) == ("endpoint.test", "waiting", endpoint)
    assert WebhookEndpoint.objects.due().get() == endpoint


def test_a_delivery_is_resent_once_with_the_same_id(make: Made, alice: User) -> None:
    delivery = delivery_actions.send_test(make()[0], by=alice)
    assert not delivery_actions.resend(delivery, by=alice)
    OutgoingDelivery.objects.update(state="failed", tries=10)
    WebhookEndpoint.objects.update(due_at=None)
    webhook_id = delivery.message.webhook_id

    assert delivery_actions.resend(delivery, by=alice)
    assert not delivery_actions.resend(delivery, by=alice)

    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries, delivery.message.webhook_id) == ("waiting", 0, webhook_id)
    assert WebhookEndpoint.objects.due().exists()

"""The stand-in's receiver, which shares no code with the product, verifies what is sent."""

from html import unescape

import pytest
import requests

from accounts.models import User
from integrations.background import jobs
from integrations.models import OutgoingDelivery, WebhookEndpoint
from integrations.outgoing import delivery_actions, endpoints
from integrations.sandbox import receiver
from tests.outgoing.conftest import Made
from tests.support.clients import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_receiver_verifies_what_is_sent_before_and_after_a_new_secret(
    make: Made, sandbox: Sandbox, alice: User
) -> None:
    endpoint, secret = make(url=sandbox.url.rstrip("/") + receiver.HOOK_PATH)
    page = sandbox.url.rstrip("/") + receiver.PAGE_PATH

    def answer(how: str) -> None:
        requests.post(page, {"secret": secret, "answer": how}, timeout=30)

    def send() -> str:
        delivery_actions.send_test(endpoint, by=alice)
        jobs.work_off(jobs.OUTGOING)
        return OutgoingDelivery.objects.latest("pk").state

    answer("200")
    assert send() == OutgoingDelivery.State.DELIVERED
    endpoints.replace_secret(endpoint, by=alice)
    assert send() == OutgoingDelivery.State.DELIVERED
    shown = unescape(requests.get(page, timeout=30).text)
    assert shown.count("<strong>signature verified</strong>") == 2 and "endpoint.test" in shown
    answer("redirect")
    assert send() == OutgoingDelivery.State.WAITING
    answer("410")
    send()
    endpoint.refresh_from_db()
    assert endpoint.off_reason == WebhookEndpoint.OffReason.GONE

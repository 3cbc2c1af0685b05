"""Who is told about an endpoint in trouble, and where it shows."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Customer, User
from integrations.background import jobs
from integrations.models import Connection, WebhookEndpoint
from integrations.operations import gauges, status
from integrations.outgoing import results
from tests.outgoing.conftest import Made
from tests.support.clients import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
Reason = WebhookEndpoint.OffReason


def gauge(name: str) -> dict[str, float]:
    (found,) = [one for one in gauges.read() if one.name == name]
    return found.values


def signal() -> str:
    (found,) = [one for one in status.read().signals if one.name == "Webhooks"]
    return f"{found.tone}: {found.words}"


def test_owners_are_mailed_once_that_their_endpoint_was_switched_off(
    make: Made, alice: User, bob: User, acme: Customer
) -> None:
    endpoint, _ = make(description="Our CRM")
    WebhookEndpoint.objects.update(failing_since=timezone.now() - timedelta(days=3))
    for _ in range(2):
        results.switch_off(endpoint, Reason.FAILING)
        jobs.work_off()

    (sent,) = mail.outbox
    assert sent.to == ["alice@example.com"]
    assert sent.subject == "Connect: We turned off a webhook endpoint of Acme Property"
    assert "Every webhook to Our CRM has failed since" in sent.body
    assert f"/c/{acme.code}/webhooks/{endpoint.code}/" in sent.body
    assert "To stop these emails:" in sent.body


@pytest.mark.parametrize(
    ("reason", "words"), [(Reason.GONE, "answered 410 Gone"), (Reason.SECRET_LOST, "can no longer be decrypted")]
)
def test_the_operator_is_mailed_about_its_own(make: Made, settings: Settings, reason: Reason, words: str) -> None:
    settings.OPERATOR_EMAIL = "operator@example.com"
    endpoint, _ = make(customer=None)
    results.switch_off(endpoint, reason)

    jobs.work_off()

    (sent,) = mail.outbox
    assert sent.to == ["operator@example.com"]
    assert words in sent.body
    assert f"/staff/webhooks/{endpoint.code}/" in sent.body


def test_what_fails_for_ten_minutes_shows_on_the_dashboard_and_to_the_operator(
    make: Made, visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    Connection.objects.create(customer=acme)
    make()
    make(customer=None)
    assert signal() == "success: Every webhook endpoint can be reached."
    WebhookEndpoint.objects.update(failing_since=timezone.now())
    assert "A webhook endpoint" not in visit(alice).get(f"/c/{acme.code}/").text

    WebhookEndpoint.objects.update(failing_since=timezone.now() - WebhookEndpoint.FAILING_AFTER)

    assert signal() == "warning: 2 webhook endpoints are failing or were turned off."
    assert gauge("connect_endpoints_failing") == {"operator": 1, "customers": 1}
    seen = " ".join(visit(alice).get(f"/c/{acme.code}/").text.split())
    assert "A webhook endpoint is failing or turned off." in seen
    assert f'href="/c/{acme.code}/webhooks/"' in seen
    assert "An owner can see what they answered." in visit(bob).get(f"/c/{acme.code}/").text


def test_one_that_waits_for_a_worker_shows_as_waiting(make: Made) -> None:
    make()
    assert gauge("connect_waiting_seconds")["webhook"] == 0
    WebhookEndpoint.objects.update(due_at=timezone.now() - timedelta(minutes=5))

    assert gauge("connect_waiting_seconds")["webhook"] >= 300

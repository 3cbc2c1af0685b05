"""A deleted endpoint is gone at once; its rows go in steps, however many they are."""

from datetime import timedelta

import pytest
from django.db import connection as database
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEntry, Customer, User
from integrations.background import jobs
from integrations.connecting import customer_deletion
from integrations.models import DeliveryTry, OutgoingDelivery, OutgoingMessage, WebhookEndpoint
from integrations.outgoing import endpoints, resends
from tests.outgoing.conftest import Made
from tests.outgoing.sending import queue, send, states

pytestmark = pytest.mark.django_db(transaction=True)


def write(endpoint: WebhookEndpoint, count: int) -> None:
    """So many messages that wait for this endpoint, each with a failed try."""
    customer = endpoint.customer
    made = OutgoingMessage.objects.bulk_create(
        OutgoingMessage(customer=customer, type="endpoint.test", body="{}") for _ in range(count)
    )
    deliveries = OutgoingDelivery.objects.queue([(message, endpoint) for message in made])
    DeliveryTry.objects.bulk_create(DeliveryTry(delivery=one, status=500, duration=timedelta(0)) for one in deliveries)


def a_minute_later() -> None:
    WebhookEndpoint.with_deleted.update(state_since=F("state_since") - endpoints.ERASE_AFTER)
    jobs.work_off()


def test_a_request_deletes_an_endpoint_by_as_many_queries_however_many_deliveries_it_has(
    make: Made, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "ERASED_AT_ONCE", 200)
    few, many, kept = (make(url=f"https://hooks.example/{number}")[0] for number in range(3))
    asked = {}
    for endpoint, count in ((few, 1), (many, 500), (kept, 3)):
        write(endpoint, count)
    for endpoint in (few, many):
        with CaptureQueriesContext(database) as captured:
            endpoints.delete(endpoint, by=alice)
        asked[endpoint.pk] = len(captured)

    assert asked[few.pk] == asked[many.pk]
    assert list(WebhookEndpoint.objects.all()) == [kept]
    jobs.work_off()
    assert OutgoingDelivery.objects.count() == 504, "something may still be writing for it"

    left = []
    while WebhookEndpoint.with_deleted.count() > 1:
        a_minute_later()
        left.append(OutgoingDelivery.objects.count())
    assert left == [303, 103, 3]
    assert DeliveryTry.objects.count() == 3
    assert set(OutgoingDelivery.objects.values_list("endpoint", flat=True)) == {kept.pk}


def test_a_deleted_endpoint_keeps_no_secret_gets_no_message_and_counts_as_deleted_once(
    make: Made, acme: Customer, alice: User
) -> None:
    endpoint, _ = make(headers={"X-Access": "sesame"})
    endpoints.delete(endpoint, by=alice)
    endpoints.delete(endpoint, by=alice)

    assert AuditEntry.objects.filter(kind="webhook_endpoint.deleted").count() == 1
    row = WebhookEndpoint.with_deleted.get()
    assert (row.key_id, bytes(row.sealed_secret), bytes(row.sealed_headers), row.header_names) == ("", b"", b"", [])
    assert not endpoints.switch_on(row, by=alice) and not endpoints.pause(row, by=alice)
    assert WebhookEndpoint.objects.hearing_of(acme.pk) == list(acme.webhook_endpoints.all()) == []
    assert not WebhookEndpoint.objects.in_trouble().exists()


def test_what_is_written_for_it_and_sent_again_meanwhile_goes_with_it(make: Made, alice: User) -> None:
    endpoint, _ = make()
    (delivery,) = queue(endpoint)
    OutgoingDelivery.objects.filter(pk=delivery.pk).update(state="failed")
    assert resends.start(endpoint, since=delivery.message.created_at, with_delivered=True, by=alice)
    endpoints.delete(endpoint, by=alice)
    # By a transaction that has read the endpoint before.
    OutgoingMessage.objects.write_to(endpoint, "endpoint.test", "{}")
    jobs.work_off()
    send()
    assert states() == ["failed", "waiting"]

    a_minute_later()

    assert states() == []
    assert not WebhookEndpoint.with_deleted.exists()


def test_a_customer_is_deleted_with_its_messages_in_steps(
    make: Made, acme: Customer, alice: User, charlie: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customer_deletion, "BATCH", 20)
    write(make()[0], 50)
    theirs, _ = make(customer=charlie.customers.get())
    write(theirs, 3)
    left = []
    while not customer_deletion.delete(acme, by=alice, seconds=0):
        left.append(OutgoingMessage.objects.count())

    assert left[:3] == [33, 13, 3]
    assert set(OutgoingDelivery.objects.values_list("endpoint", flat=True)) == {theirs.pk}
    assert DeliveryTry.objects.count() == 3

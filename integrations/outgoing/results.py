"""Writes how tries ended: on the deliveries, and on their endpoints.

    2xx               delivered
    410               failed, and the endpoint is switched off
    another answer    failed; tried again by the schedule, redirects included
    no answer         failed; the endpoint waits, a few seconds at first and up to five minutes

An endpoint that asks for a pause by `Retry-After` gets nothing before. One at which nothing has arrived for
WebhookEndpoint.OFF_AFTER is switched off.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from accounts import audit
from integrations.models import DeliveryTry, OutgoingDelivery, WebhookEndpoint, backoff
from integrations.outgoing import schedule
from integrations.outgoing.request import Result

GONE = 410


def write(results: Sequence[tuple[int, Result]]) -> None:
    """Writes results, as (endpoint's id, result). In a transaction that has locked the endpoints' rows."""
    # Locked against deletion; an endpoint may have been deleted, or a message by its age.
    rows = OutgoingDelivery.objects.filter(pk__in=[result.item.pk for _, result in results])
    present = set(rows.select_for_update().order_by("pk").values_list("pk", flat=True))
    results = [(endpoint, result) for endpoint, result in results if result.item.pk in present]
    waiting = OutgoingDelivery.objects.waiting()
    delivered = waiting.filter(pk__in=[result.item.pk for _, result in results if result.is_delivered])
    delivered.update(state=OutgoingDelivery.State.DELIVERED, tries=F("tries") + 1, delivered_at=Now())
    for _, result in results:
        if not result.is_delivered:
            waiting.filter(pk=result.item.pk).update(tries=F("tries") + 1, **_after_failure(result))
    DeliveryTry.objects.bulk_create(
        DeliveryTry(
            delivery_id=result.item.pk,
            at=result.at,
            error_kind=result.error_kind,
            status=result.status,
            duration=result.duration,
            answer_headers=result.headers,
            answer=result.body,
        )
        for _, result in results
    )
    _note_on_endpoints(results)


def switch_off(endpoint: WebhookEndpoint, reason: WebhookEndpoint.OffReason) -> None:
    """Switches it off, in the caller's transaction, and has its people told."""
    rows = WebhookEndpoint.objects.exclude(state=WebhookEndpoint.State.OFF).filter(pk=endpoint.pk)
    if rows.update(state=WebhookEndpoint.State.OFF, off_reason=reason, state_since=Now(), notice_at=Now()) == 1:
        audit.record(
            "webhook_endpoint.switched_off", customer=endpoint.customer, endpoint=endpoint.code, reason=reason.value
        )


def _after_failure(result: Result) -> dict[str, Any]:
    wait = schedule.wait_after(result.item.tries + 1, result.retry_after)
    return {"state": OutgoingDelivery.State.FAILED} if wait is None else {"next_try_at": Now() + wait}


def _note_on_endpoints(results: Iterable[tuple[int, Result]]) -> None:
    by_endpoint: defaultdict[int, list[Result]] = defaultdict(list)
    for endpoint, result in results:
        by_endpoint[endpoint].append(result)
    well = [pk for pk, of_it in by_endpoint.items() if all(result.is_delivered for result in of_it)]
    endpoints = WebhookEndpoint.objects.filter(pk__in=well)
    endpoints.update(delivered_at=Now(), failing_since=None)
    # A request of the same moment may have been told to wait.
    endpoints.exclude(wait_until__gt=Now()).exclude(wait_until=None, waits=0).update(wait_until=None, waits=0)
    troubled = WebhookEndpoint.objects.filter(pk__in=by_endpoint.keys() - set(well)).with_must_wait()
    for row in troubled.select_related("customer").order_by("pk"):
        # What another URL has answered, which was replaced meanwhile, says nothing about this one.
        if about_it := [result for result in by_endpoint[row.pk] if result.url == row.url]:
            _note_failure(row, about_it)


def _note_failure(endpoint: WebhookEndpoint, results: Sequence[Result]) -> None:
    row = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    if any(result.is_delivered for result in results):
        row.update(delivered_at=Now(), failing_since=None)
    else:
        row.filter(failing_since=None).update(failing_since=Now())
    pause = max((result.retry_after for result in results if not result.is_delivered), default=timedelta(0))
    if not any(result.status for result in results):
        if not endpoint.must_wait:  # else a request of the same moment has made it wait already
            wait = backoff.wait_after_outage(endpoint.waits)
            row.update(wait_until=Now() + wait, waits=min(endpoint.waits + 1, 1000))
    elif pause:
        row.update(wait_until=Now() + pause, waits=1)
    elif not endpoint.must_wait:
        row.update(wait_until=None, waits=0)
    if any(result.status == GONE for result in results):
        switch_off(endpoint, WebhookEndpoint.OffReason.GONE)
    elif row.filter(failing_since__lte=Now() - WebhookEndpoint.OFF_AFTER).exists():
        switch_off(endpoint, WebhookEndpoint.OffReason.FAILING)

"""Resends of many deliveries, those of an endpoint since a moment: counted first, then done in bounded steps.

Like `events.replays`: a step is one transaction, and one resend resets no delivery twice. While MOST_WAITING of the
endpoint's deliveries are due, no more are added, so that new messages and *Cancel* are not delayed for long.
"""

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations.models import OutgoingDelivery, Resend, WebhookEndpoint

MOST_COUNTED = 100_000
STEP = 200
MOST_WAITING = 400
State = OutgoingDelivery.State


def count(endpoint: WebhookEndpoint, *, since: datetime, with_delivered: bool) -> int:
    """How many would be sent again; MOST_COUNTED + 1 stands for more than MOST_COUNTED."""
    return _matching(endpoint, since=since, with_delivered=with_delivered)[: MOST_COUNTED + 1].count()


def start(endpoint: WebhookEndpoint, *, since: datetime, with_delivered: bool, by: User) -> Resend | None:
    """Starts to send these again; None if that is being done already, or while the endpoint is off.

    since: when what they tell has happened. with_delivered: those that have arrived, too.
    """
    if endpoint.is_off:
        return None
    last = OutgoingDelivery.objects.filter(endpoint=endpoint).order_by("-pk").values_list("pk", flat=True).first()
    resend = Resend(
        endpoint=endpoint,
        by=by,
        since=since,
        with_delivered=with_delivered,
        matched=count(endpoint, since=since, with_delivered=with_delivered),
        last_delivery=last or 0,
    )
    try:
        with transaction.atomic():
            resend.save()
            _record("started", resend, by, resend.matched)
    except IntegrityError:
        return None
    return resend


def cancel(resend: Resend, *, by: User) -> bool:
    """Ends it where it stands; whether it was still running."""
    with transaction.atomic():
        ended = Resend.objects.running().filter(pk=resend.pk)
        cancelled = ended.update(finished_at=Now(), is_cancelled=True, cancelled_by=by) == 1
        if cancelled:
            resend.refresh_from_db()
            _record("cancelled", resend, by, resend.resent)
    return cancelled


def step(resend_id: int) -> bool:
    """Sends the next STEP again; whether another step makes sense at once. Ends it when the endpoint is off."""
    resend = Resend.objects.running().select_related("endpoint__customer").filter(pk=resend_id).first()
    if resend is None:
        return False
    endpoint = resend.endpoint
    due = OutgoingDelivery.objects.due().filter(endpoint=endpoint)
    if due.order_by()[:MOST_WAITING].count() == MOST_WAITING:
        return False
    with transaction.atomic():
        found: list[int] = []
        if not endpoint.is_off:
            rows = _matching(endpoint, since=resend.since, with_delivered=resend.with_delivered)
            rows = rows.filter(pk__gt=resend.at_delivery, pk__lte=resend.last_delivery).order_by("pk")
            found = list(rows.values_list("pk", flat=True)[:STEP])
        place = {"at_delivery": found[-1]} if found else {"finished_at": Now()}
        # Changes no row if another worker has done this step, or somebody has cancelled.
        mine = Resend.objects.running().filter(pk=resend.pk, steps=resend.steps)
        if mine.update(steps=F("steps") + 1, **place) != 1:
            return False
        if not found:
            _record("finished", resend, None, resend.resent)
            return False
        resent = OutgoingDelivery.objects.filter(pk__in=found).reset()
        Resend.objects.filter(pk=resend.pk).update(resent=F("resent") + resent)
    return True


def _matching(endpoint: WebhookEndpoint, *, since: datetime, with_delivered: bool) -> "QuerySet[OutgoingDelivery]":
    kept_out = [State.WAITING] if with_delivered else [State.WAITING, State.DELIVERED]
    rows = OutgoingDelivery.objects.filter(endpoint=endpoint, message__created_at__gte=since)
    return rows.exclude(state__in=kept_out).order_by()


def _record(what: str, resend: Resend, by: User | None, deliveries: int) -> None:
    endpoint = resend.endpoint
    audit.record(
        f"webhook_endpoint.resend_{what}",
        customer=endpoint.customer,
        actor=by,
        endpoint=endpoint.code,
        deliveries=deliveries,
    )

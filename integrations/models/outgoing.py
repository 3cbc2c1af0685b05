"""Webhooks that Connect sends: an outbox.

OutgoingMessage   what has happened, as it is sent; written in the transaction in which it happened
OutgoingDelivery  a message on its way to one endpoint; carries the state that people see
DeliveryTry       one request to the endpoint
Resend            deliveries of an endpoint since a moment, sent again by a person
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import Customer, User, new_code
from integrations.models.webhook_endpoints import WebhookEndpoint


class ConnectionType(models.TextChoices):
    """The types of messages about a connection."""

    CONNECTED = "connection.connected"
    NEEDS_RECONNECT = "connection.needs_reconnect"
    WORKING_AGAIN = "connection.working_again"
    DISCONNECTED = "connection.disconnected"


class OutgoingMessageQuerySet(models.QuerySet["OutgoingMessage"]):
    def write(
        self, messages: Sequence[tuple[str, str]], *, customer_id: int | None, endpoints: Sequence[WebhookEndpoint]
    ) -> None:
        """Writes messages, as (type, data in JSON), for those of the endpoints that have asked for the type.

        Call it in the transaction in which it happened: so no message is lost, and none tells what was rolled back.
        """
        wanted = {type: [endpoint for endpoint in endpoints if endpoint.wants(type)] for type, _ in messages}
        at = timezone.now()
        made = self.bulk_create(
            OutgoingMessage(customer_id=customer_id, type=type, body=_body(type, at, data), created_at=at)
            for type, data in messages
            if wanted[type]
        )
        OutgoingDelivery.objects.queue([(message, endpoint) for message in made for endpoint in wanted[message.type]])

    def write_to(self, endpoint: WebhookEndpoint, type: str, data: str) -> "OutgoingDelivery":
        """Writes a message for this endpoint alone, whatever it has asked for."""
        at = timezone.now()
        message = self.create(customer_id=endpoint.customer_id, type=type, body=_body(type, at, data), created_at=at)
        (delivery,) = OutgoingDelivery.objects.queue([(message, endpoint)])
        return delivery


def _wake(endpoint_ids: set[int]) -> None:
    """Makes the endpoints due after the commit: in it, everybody who has something for one would wait for its row."""

    def wake() -> None:
        for pk in sorted(endpoint_ids):
            WebhookEndpoint.objects.filter(pk=pk).wake()

    # What this does not reach is found by the sweep.
    transaction.on_commit(wake, robust=True)


def _body(type: str, at: datetime, data: str) -> str:
    """The body of a message, as the Standard Webhooks specification has it."""
    return f'{{"type": {json.dumps(type)}, "timestamp": {json.dumps(at.isoformat())}, "data": {data}}}'


class OutgoingMessage(models.Model):
    """What has happened, for every endpoint that has asked for it."""

    # With its deliveries and their tries; also the longest that one waits for a paused endpoint.
    KEPT = timedelta(days=30)

    # Receivers know it by its `webhook-id`, the same in every try and every resend.
    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    # None for a test of an endpoint of the deployment.
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE, related_name="+")
    type = models.CharField(max_length=50)
    body = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    objects = OutgoingMessageQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.type} {self.webhook_id}"

    @property
    def webhook_id(self) -> str:
        return f"msg_{self.code}"


class OutgoingDeliveryQuerySet(models.QuerySet["OutgoingDelivery"]):
    def queue(self, pairs: "Sequence[tuple[OutgoingMessage, WebhookEndpoint]]") -> "list[OutgoingDelivery]":
        """Queues these messages for these endpoints, in the caller's transaction."""
        State = OutgoingDelivery.State
        made = self.bulk_create(
            OutgoingDelivery(message=message, endpoint=endpoint, state=State.HELD if endpoint.is_off else State.WAITING)
            for message, endpoint in pairs
        )
        _wake({endpoint.pk for _, endpoint in pairs})
        return made

    def reset(self) -> int:
        """Has those of these that do not wait sent again, in the caller's transaction; returns how many those were."""
        endpoints = set(self.values_list("endpoint", flat=True).distinct())
        # While an endpoint is off, what waits for it would be held again.
        finished = self.exclude(state=OutgoingDelivery.State.WAITING).exclude(endpoint__state=WebhookEndpoint.State.OFF)
        reset = finished.update(state=OutgoingDelivery.State.WAITING, tries=0, next_try_at=Now())
        _wake(endpoints)
        return reset

    def waiting(self) -> Self:
        return self.filter(state=OutgoingDelivery.State.WAITING)

    def due(self) -> Self:
        return self.waiting().filter(next_try_at__lte=Now())


class OutgoingDelivery(models.Model):
    """A message on its way to one endpoint."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"  # for its first try, the next one, or the end of a pause
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Failed"  # the last try has failed, too
        HELD = "held", "Not sent"  # the endpoint was switched off; sent only when a person resends it

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    message = models.ForeignKey(OutgoingMessage, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    # Since it was made or last resent.
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True)

    objects = OutgoingDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "outgoing deliveries"
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["message", "endpoint"], name="one_delivery_per_endpoint"),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "delivered", "failed", "held"]), name="outgoing_state_is_known"
            ),
        ]
        indexes = [
            models.Index(fields=["endpoint", "id", "state"], name="outgoing_by_endpoint"),
            models.Index(
                fields=["endpoint", "next_try_at", "id"], condition=Q(state="waiting"), name="outgoing_waiting"
            ),
        ]

    def __str__(self) -> str:
        return f"delivery {self.code}"


class DeliveryTry(models.Model):
    """One request to an endpoint, and what it answered, without the endpoint's secrets."""

    MOST_ANSWER_BYTES = 2048

    delivery = models.ForeignKey(OutgoingDelivery, on_delete=models.CASCADE, related_name="timeline")
    at = models.DateTimeField(db_default=Now())
    # Why there is no answer, or why it is none; empty when the endpoint answered.
    error_kind = models.CharField(max_length=30, blank=True)
    status = models.PositiveSmallIntegerField(null=True)
    duration = models.DurationField()
    answer_headers = models.JSONField(default=dict)
    answer = models.TextField(blank=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"try of delivery {self.delivery_id}: {self.status or self.error_kind}"


class ResendQuerySet(models.QuerySet["Resend"]):
    def running(self) -> Self:
        return self.filter(finished_at=None)


class Resend(models.Model):
    """Deliveries of an endpoint since a moment, sent again, the oldest first."""

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="resends")
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    since = models.DateTimeField()
    # Whether those that have arrived are sent again, too.
    with_delivered = models.BooleanField(default=False)
    # How many there were, and the latest one, when it started. Later ones are left out.
    matched = models.PositiveIntegerField()
    last_delivery = models.BigIntegerField()
    # The last one sent again; the number of steps, so that two workers do not take the same.
    at_delivery = models.BigIntegerField(default=0)
    steps = models.PositiveIntegerField(default=0)
    resent = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)
    is_cancelled = models.BooleanField(default=False)
    cancelled_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    objects = ResendQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["endpoint"], condition=Q(finished_at=None), name="one_resend_at_a_time"),
        ]

    def __str__(self) -> str:
        return f"resend of {self.matched} deliveries"

    @property
    def is_running(self) -> bool:
        return self.finished_at is None

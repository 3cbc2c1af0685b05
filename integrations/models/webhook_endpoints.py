"""Endpoints: the addresses to which Connect posts signed webhooks."""

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import ExpressionWrapper, Q
from django.db.models.functions import Now

from accounts.kept_queries import KeptQuery
from accounts.models import Customer, User, new_code
from integrations.models.leases import UNLEASED

_hearing_of = KeptQuery(
    lambda customer_id: WebhookEndpoint.objects.filter(Q(customer=customer_id) | Q(customer=None)).only(
        "types", "state"
    )
)


class WebhookEndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def on(self) -> Self:
        return self.filter(state=WebhookEndpoint.State.ON)

    def hearing_of(self, customer_id: int) -> "list[WebhookEndpoint]":
        """Those that may get messages about this customer, in whatever state: its own and the deployment's."""
        return _hearing_of(customer_id)

    def due(self) -> Self:
        """Those with something to send, or whose worker has died; no worker holds them."""
        due = Q(due_at__lte=Now()) | Q(lease_until__lt=Now())
        may_be_sent_to = Q(wait_until=None) | Q(wait_until__lte=Now())
        return self.on().filter(due, may_be_sent_to, UNLEASED)

    def with_must_wait(self) -> Self:
        """With `must_wait`: whether nothing may be sent at the moment, by the database's clock."""
        waits = Q(wait_until__isnull=False, wait_until__gt=Now())
        return self.annotate(must_wait=ExpressionWrapper(waits, output_field=models.BooleanField()))

    def wake(self) -> None:
        """Makes them due now. Whoever holds one looks at its deliveries again before letting it go."""
        self.filter(Q(due_at=None) | Q(due_at__gt=Now())).update(due_at=Now())

    def in_trouble(self) -> Self:
        """Those that were switched off, and those at which nothing has arrived for a while."""
        failing = Q(state=WebhookEndpoint.State.ON, failing_since__lt=Now() - WebhookEndpoint.FAILING_AFTER)
        return self.filter(Q(state=WebhookEndpoint.State.OFF) | failing)

    def with_notice_due(self) -> Self:
        return self.filter(notice_at__lte=Now())


_Manager = models.Manager.from_queryset(WebhookEndpointQuerySet)


class WebhookEndpointManager(_Manager["WebhookEndpoint"]):
    """Those that were not deleted."""

    def get_queryset(self) -> WebhookEndpointQuerySet:
        return WebhookEndpointQuerySet(self.model, using=self._db).exclude(off_reason=WebhookEndpoint.OffReason.DELETED)


class WebhookEndpoint(models.Model):
    """Where messages are posted to: a customer's own endpoint, or the operator's, which gets those of all customers.

    Messages for one that is paused or off are kept like others, see `OutgoingDelivery.State`.
    """

    DESCRIPTION_LENGTH = 200
    LONGEST_URL = 2000
    MOST_HEADERS = 10
    # How long nothing but failures is worth a word to people, and how long switches it off.
    FAILING_AFTER = timedelta(minutes=10)
    OFF_AFTER = timedelta(days=3)
    # One of `types` that stands for all.
    EVERY_TYPE = "*"

    class State(models.TextChoices):
        ON = "on", "On"
        PAUSED = "paused", "Paused"  # by a person: deliveries wait, and go out when it is on again
        OFF = "off", "Off"  # by us, see OffReason

    class OffReason(models.TextChoices):
        FAILING = "failing", "Every delivery has failed for three days"
        GONE = "gone", "It answered 410 Gone"
        SECRET_LOST = "secret_lost", "Its signing secret cannot be opened any more"
        DELETED = "deleted", "It was deleted"  # by a person: the row is there until its deliveries are deleted, too

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE, related_name="webhook_endpoints")
    url = models.CharField(max_length=LONGEST_URL)
    types = models.JSONField(default=list)
    description = models.CharField(max_length=DESCRIPTION_LENGTH, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.ON)
    off_reason = models.CharField(max_length=15, choices=OffReason, blank=True)
    # When it was last switched off, paused or on.
    state_since = models.DateTimeField(db_default=Now())
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    # The signing secret, the one it replaces, which signs beside it until `old_secret_until`, and the values of
    # custom headers (a JSON object). All are sealed by the same key.
    sealed_secret = models.BinaryField(editable=False)
    sealed_old_secret = models.BinaryField(editable=False, default=bytes)
    old_secret_until = models.DateTimeField(null=True)
    sealed_headers = models.BinaryField(editable=False, default=bytes)
    key_id = models.CharField(max_length=16, db_index=True, editable=False)
    header_names = models.JSONField(default=list)

    # A worker holds it while it sends. `due_at` says where to look first; the deliveries' rows are the truth.
    due_at = models.DateTimeField(null=True)
    lease_owner = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True)

    # The last delivery that arrived, and since when all others have failed.
    delivered_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    # It gives no answer, or has asked for a pause by Retry-After: nothing is sent before. How often in a row.
    wait_until = models.DateTimeField(null=True)
    waits = models.PositiveSmallIntegerField(default=0)
    # When its people have to be told that it was switched off.
    notice_at = models.DateTimeField(null=True)

    objects = WebhookEndpointManager()
    with_deleted = WebhookEndpointQuerySet.as_manager()

    # Annotated by `with_must_wait`.
    must_wait: bool

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=["on", "paused", "off"]), name="endpoint_state_is_known"),
            models.CheckConstraint(condition=Q(state="off") ^ Q(off_reason=""), name="endpoint_off_has_a_reason"),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="endpoint_due"),
            models.Index(fields=["lease_until"], condition=Q(lease_until__isnull=False), name="endpoint_leased"),
            models.Index(fields=["failing_since"], condition=Q(failing_since__isnull=False), name="endpoint_failing"),
            models.Index(fields=["notice_at"], condition=Q(notice_at__isnull=False), name="endpoint_notice"),
        ]

    def __str__(self) -> str:
        return self.description or self.url

    @property
    def is_off(self) -> bool:
        return self.state == self.State.OFF

    def wants(self, type: str) -> bool:
        """Whether it has asked for messages of this type."""
        return type in self.types or self.EVERY_TYPE in self.types

"""Keys of the API."""

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import Customer, User


class Scope(models.TextChoices):
    """What a key may do."""

    CUSTOMERS = "customers", "list, read, create and change customers"
    CONNECTIONS_READ = "connections:read", "list and read connections and connect sessions"
    CONNECTIONS_WRITE = "connections:write", "connect, test and disconnect; change metadata"
    EVENTS_READ = "events:read", "list and read events, webhook endpoints and deliveries"
    EVENTS_WRITE = "events:write", "replay events; manage webhook endpoints, test and resend"
    PROXY_READ = "proxy:read", "call SnapInspect's API by GET and HEAD"
    PROXY_WRITE = "proxy:write", "call SnapInspect's API by the other methods"


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def valid(self) -> Self:
        """Neither revoked nor expired, by the database's clock."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None)


class ApiKey(models.Model):
    """A key of the operator's own systems; of a customer's, where it has one: it reaches nothing else."""

    NAME_LENGTH = 100

    # The part that may be shown: it names the key in lists, logs and the audit trail.
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    # Only the hash: who reads the table has no key.
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    name = models.CharField(max_length=NAME_LENGTH)
    scopes = models.JSONField()
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE, related_name="api_keys")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    # To the minute.
    last_used_at = models.DateTimeField(null=True)
    # Requests within one minute, which is counted since 1970. See `claim_request`.
    minute = models.BigIntegerField(default=0, db_default=0)
    requests = models.PositiveIntegerField(default=0, db_default=0)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.name} (cok_{self.prefix})"

    def claim_request(self, minute: int, *, limit: int) -> bool:
        """Whether one more request may be served in this minute. Right across processes: the row counts.

        A host whose clock is behind counts in the latest minute that another one has begun.
        """
        row = ApiKey.objects.filter(pk=self.pk)
        if self.minute < minute and row.filter(minute__lt=minute).update(minute=minute, requests=1, last_used_at=Now()):
            self.requests = 1
            return True
        self.requests += 1
        return row.filter(requests__lt=limit).update(requests=F("requests") + 1) == 1

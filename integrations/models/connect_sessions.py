"""Sessions of the hosted Connect page."""

from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Customer, new_code
from integrations.models.connections import Connection


class ConnectSessionQuerySet(models.QuerySet["ConnectSession"]):
    def recent(self) -> Self:
        """Not too old by the database's clock."""
        return self.filter(created_at__gt=Now() - ConnectSession.LIFETIME)

    def unfinished(self) -> Self:
        """Nobody has come back from SnapInspect yet."""
        return self.filter(status__in=[ConnectSession.Status.OPEN, ConnectSession.Status.STARTED], pair=None)


class ConnectSession(models.Model):
    """An address at which somebody without an account here connects once, for a customer that the operator names."""

    LIFETIME = timedelta(minutes=30)
    # How long an old one is remembered, so that the operator can ask what became of it.
    REMEMBERED = timedelta(days=30)
    LONGEST_RETURN = 2000

    class Status(models.TextChoices):
        OPEN = "open"
        STARTED = "started"
        CONNECTED = "connected"
        DECLINED = "declined"
        FAILED = "failed"
        EXPIRED = "expired"

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    # Only the hash: who reads the table cannot make up the address.
    secret_hash = models.CharField(max_length=64, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="connect_sessions")
    # The one to reconnect; later the one that was connected.
    connection = models.ForeignKey(Connection, null=True, on_delete=models.SET_NULL, related_name="+")
    return_to = models.CharField(max_length=LONGEST_RETURN)
    created_at = models.DateTimeField(db_default=Now())
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    # The browser that has started it: the hash of its cookie.
    browser_hash = models.CharField(max_length=64, blank=True, default="")
    # The key of the pair that SnapInspect gave. No foreign key: the pair is deleted when it is refused or replaced.
    pair = models.BigIntegerField(null=True)

    objects = ConnectSessionQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["pair"], condition=Q(pair__isnull=False), name="connect_session_pair")]

    def __str__(self) -> str:
        return f"connect session {self.code}"

    @property
    def expires_at(self) -> datetime:
        return self.created_at + self.LIFETIME

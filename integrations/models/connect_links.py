"""Links by which a colleague connects from another device."""

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models.functions import Now

from accounts.models import Customer, User
from integrations.models.connections import Connection


class ConnectLinkQuerySet(models.QuerySet["ConnectLink"]):
    def open(self) -> Self:
        """Not used, and not too old by the database's clock."""
        return self.filter(used_at=None, created_at__gt=Now() - ConnectLink.LIFETIME)


class ConnectLink(models.Model):
    """An address that somebody hands to a colleague of the same customer. Worth nothing to anybody else."""

    LIFETIME = timedelta(hours=24)
    # How long an old one is remembered, so that its page can say what became of it.
    REMEMBERED = timedelta(days=30)

    # Only the hash: who reads the table cannot make up the address.
    secret_hash = models.CharField(max_length=64, unique=True)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="connect_links")
    # Set when it is for reconnecting this one, empty when it is for a new connection.
    connection = models.ForeignKey(Connection, null=True, on_delete=models.CASCADE, related_name="connect_links")
    made_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    used_at = models.DateTimeField(null=True)
    used_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    objects = ConnectLinkQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"connect link {self.pk} for {self.customer}"

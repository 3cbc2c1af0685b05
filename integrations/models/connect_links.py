"""Links by which a colleague connects from another device."""

from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models.functions import Now

from accounts.access import MAY_CONNECT
from accounts.models import Customer, Membership, User
from integrations.models.connections import Connection


class ConnectLinkQuerySet(models.QuerySet["ConnectLink"]):
    def recent(self) -> Self:
        """Not too old by the database's clock."""
        return self.filter(created_at__gt=Now() - ConnectLink.LIFETIME)

    def open(self) -> Self:
        """Recent, not used, and made by somebody who still may connect."""
        maker = Membership.objects.filter(
            customer=models.OuterRef("customer"), user=models.OuterRef("made_by"), role__in=MAY_CONNECT
        )
        return self.recent().filter(models.Exists(maker), used_at=None)


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

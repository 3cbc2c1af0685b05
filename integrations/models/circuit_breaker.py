"""The row that says whether exchanging is stopped for everybody."""

from django.db import models
from django.db.models import Q

from integrations.models.connections import Connection


class CircuitBreaker(models.Model):
    """The one row that says whether exchanging is stopped, see integrations.tokens.circuit_breaker."""

    opened_at = models.DateTimeField(null=True)
    next_probe_at = models.DateTimeField(null=True)
    # The connection whose turn it is to be tried, and how many of those tries have exchanged.
    probe = models.ForeignKey(Connection, null=True, on_delete=models.SET_NULL, related_name="+")
    exchanges = models.PositiveSmallIntegerField(default=0)
    exchanged_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="there_is_one_breaker")]

    def __str__(self) -> str:
        return "open" if self.opened_at else "closed"

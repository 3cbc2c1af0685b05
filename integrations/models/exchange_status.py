"""What this deployment's exchanges have met, of all connections together."""

from django.db import models
from django.db.models import Q


class ExchangeStatus(models.Model):
    """One row, see integrations.tokens.exchange_limit and integrations.tokens.diagnosis."""

    # Since when exchanges are held back, because many did not help; the operator was told then.
    limited_since = models.DateTimeField(null=True)
    # When SnapInspect last accepted an exchange, and a keyed fingerprint of the client secret that it accepted.
    accepted_at = models.DateTimeField(null=True)
    accepted_secret = models.CharField(max_length=32, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="there_is_one_exchange_status")]

    def __str__(self) -> str:
        return f"held back since {self.limited_since}" if self.limited_since else "not held back"

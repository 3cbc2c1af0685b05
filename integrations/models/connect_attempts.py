"""Attempts to come back from SnapInspect's authorization page."""

from datetime import timedelta

from django.db import models
from django.db.models import Q

from accounts.models import Customer, User
from integrations.models.connect_sessions import ConnectSession
from integrations.models.connections import Connection
from integrations.models.token_pairs import TokenPair


class Purpose(models.TextChoices):
    """Why somebody is sent to SnapInspect's authorization page."""

    CONNECT = "connect", "Connect"
    HOSTED = "hosted", "Connect without an account here"
    LINK = "link", "Link a SnapInspect user"
    SIGN_IN = "sign_in", "Sign in"


class ConnectAttempt(models.Model):
    """One visit to SnapInspect's authorization page; `connecting.oauth_state` binds its state parameter to it."""

    LIFETIME = timedelta(minutes=10)

    # Only the hash: a reader of the table cannot finish somebody's attempt.
    state_hash = models.CharField(max_length=64, unique=True)
    session_hash = models.CharField(max_length=64)
    purpose = models.CharField(max_length=10, choices=Purpose, db_default=Purpose.CONNECT, default=Purpose.CONNECT)
    # Nobody yet for who signs in, nobody of ours for a hosted Connect; a customer only for who connects.
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE, related_name="connect_attempts")
    # Set when a connection is being reconnected, empty when a new one is being made.
    connection = models.ForeignKey(Connection, null=True, on_delete=models.SET_NULL, related_name="attempts")
    # Set for a hosted Connect.
    hosted = models.ForeignKey(ConnectSession, null=True, on_delete=models.CASCADE, related_name="attempts")
    # By the issuing host's clock, and judged by the database's: a host whose clock is off cannot stretch the time.
    issued_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=30, blank=True)
    # Of the access token that this attempt brought to a connection or to a sign-in.
    fingerprint = models.CharField(max_length=TokenPair.FINGERPRINT_LENGTH, blank=True, db_default="", default="")

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(purpose=Purpose.CONNECT, user__isnull=False, customer__isnull=False)
                | Q(purpose=Purpose.HOSTED, user=None, customer__isnull=False)
                | Q(purpose=Purpose.LINK, user__isnull=False, customer=None)
                | Q(purpose=Purpose.SIGN_IN, user=None, customer=None),
                name="attempt_is_bound_as_its_purpose_asks",
            )
        ]
        indexes = [models.Index(fields=["purpose", "issued_at"], name="attempt_by_age")]

    def __str__(self) -> str:
        return f"attempt {self.pk} ({self.get_purpose_display()})"

    @property
    def for_customer(self) -> Customer:
        """The customer of a Connect, which always has one."""
        assert self.customer is not None
        return self.customer

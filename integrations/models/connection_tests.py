"""Results of *Test connection*."""

from datetime import timedelta

from django.db import models
from django.utils import timezone

from accounts.models import User
from integrations.models.connections import Connection


class ConnectionTest(models.Model):
    """What SnapInspect answered when somebody pressed *Test connection*."""

    KEPT_PER_CONNECTION = 20
    # The kind of error of a test that a worker is to finish, which takes at most so long.
    RUNNING = "running"
    LONGEST_RUN = timedelta(minutes=2)

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="connection_tests")
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(auto_now_add=True)
    # Empty when SnapInspect answered as it should.
    error_kind = models.CharField(max_length=30, blank=True)
    duration = models.DurationField(default=timedelta)
    company_id = models.CharField(max_length=20, blank=True)
    name = models.CharField(max_length=200, blank=True)
    # All of it, unless it is longer than what is kept of each.
    MOST_KEPT = 64 * 1024
    answer = models.JSONField(null=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"test of {self.connection} at {self.at:%Y-%m-%d %H:%M}"

    @property
    def is_running(self) -> bool:
        return self.error_kind == self.RUNNING and timezone.now() - self.at < self.LONGEST_RUN

    @property
    def succeeded(self) -> bool:
        return not self.error_kind

"""Replays of many events at once: their filter and their progress."""

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Customer, User, new_code


class ReplayQuerySet(models.QuerySet["Replay"]):
    def running(self) -> Self:
        return self.filter(finished_at=None)


class Replay(models.Model):
    """A replay of a customer's finished events, the oldest first."""

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="replays")
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    # The filter it was started from, by the names in its address.
    selection = models.JSONField(default=dict)
    # How many events matched when it started, or one more than the limit (see integrations.events.replays).
    matched = models.PositiveIntegerField()
    # The latest event when it started. Later ones are left out.
    last_event = models.BigIntegerField()
    # The last event replayed, by its time and id; and the number of steps, so that two workers do not take the same.
    at = models.DateTimeField(null=True)
    at_event = models.BigIntegerField(default=0)
    steps = models.PositiveIntegerField(default=0)
    replayed = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)
    cancelled_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    is_cancelled = models.BooleanField(default=False)

    objects = ReplayQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["customer"], condition=Q(finished_at=None), name="one_replay_at_a_time"),
        ]

    def __str__(self) -> str:
        return f"replay of {self.matched} events"

    @property
    def is_running(self) -> bool:
        return self.finished_at is None

    @property
    def seen(self) -> int:
        """How many events it has replayed or skipped."""
        return self.replayed + self.skipped

    @property
    def place(self) -> tuple[datetime, int] | None:
        """Its position in the list of events; None before its first step."""
        return None if self.at is None else (self.at, self.at_event)

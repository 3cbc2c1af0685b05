"""Events made from deliveries, and what became of them.

    Event         something that happened, for one connection; carries the state that people see
    Attempt       one try to process an event: its timeline
    HandlerRun    a handler that succeeded for an event, so that a retry does not run it again
    EventDelivery which deliveries announced an event: repeated ones share it

One delivery makes one event for each connection of its company.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from django.db import connection as database
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from accounts.models import new_code
from integrations.models.connection_states import State as ConnectionState
from integrations.models.connections import Connection
from integrations.models.deliveries import ID_LENGTH, TYPE_LENGTH, Delivery
from integrations.models.plain_rows import PlainRowsQuerySet, as_json, as_table, now

# What a look-up writes.
LOOKED_UP = ("content", "content_sha256", "inspection_title", "inspection_status", "previous_status")


class EventQuerySet(PlainRowsQuerySet["Event"]):
    def open(self) -> Self:
        """Not finished: received, being processed, or to be tried again."""
        return self.filter(state__in=Event.OPEN)

    def due(self) -> Self:
        return self.open().filter(next_attempt_at__lte=Now())

    def shown(self) -> Self:
        """Without those that may turn out to be a repetition: people see them once that is known."""
        return self.filter(repeat_of=None)

    def with_content(self) -> Self:
        return self.exclude(content_sha256="")

    def finish_looked_up(self, found: Sequence[tuple[int, Mapping[str, str]]]) -> None:
        """Ends events that were looked up: their ids, and the columns in LOOKED_UP. Skips those not *Processing*."""
        columns = [*LOOKED_UP, "id"]
        changes = ", ".join(f"{column} = plain.{column}" for column in LOOKED_UP)
        table = self.model._meta.db_table
        with database.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET state = 'done', proof = 'verified', last_error_kind = '', attempts = attempts + 1,"  # noqa: S608
                f" repeat_of_id = NULL, finished_at = {now()}, fetched_at = {now()}, {changes}"
                f" FROM {as_table(self.model, columns)} WHERE {table}.id = plain.id AND {table}.state = 'processing'",
                [as_json(columns, ((*(seen[name] for name in LOOKED_UP), pk) for pk, seen in found))],
            )


class Event(models.Model):
    """Something that happened at SnapInspect, for one connection."""

    class State(models.TextChoices):
        RECEIVED = "received", "Received"
        PROCESSING = "processing", "Processing"
        RETRYING = "retrying", "Retrying"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        UNMATCHED = "unmatched", "Unmatched"
        IGNORED = "ignored", "Ignored"

    class Proof(models.TextChoices):
        UNVERIFIED = "unverified", "Unverified"
        VERIFIED = "verified", "Verified"
        NOT_CHECKED = "not_checked", "Not checked"

    OPEN = (State.RECEIVED, State.PROCESSING, State.RETRYING)
    MOST_ATTEMPTS = 8
    # Of an event whose inspection SnapInspect does not know.
    MOST_REFUSALS = 3
    TITLE_LENGTH, STATUS_LENGTH = 200, 60

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="events", db_index=False)
    deliveries = models.ManyToManyField(Delivery, through="EventDelivery", related_name="events")
    state = models.CharField(max_length=12, choices=State, default=State.RECEIVED)
    type = models.CharField(max_length=TYPE_LENGTH, blank=True)
    inspection_id = models.CharField(max_length=ID_LENGTH, blank=True)
    review_id = models.CharField(max_length=ID_LENGTH, blank=True)
    company_id = models.CharField(max_length=ID_LENGTH, blank=True)
    # Of the raw bytes that made it. A repetition has the same.
    body_sha256 = models.CharField(max_length=64)
    # When the first of its deliveries came.
    received_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    last_error_kind = models.CharField(max_length=30, blank=True)

    proof = models.CharField(max_length=12, choices=Proof, default=Proof.UNVERIFIED)
    # What SnapInspect answered about the inspection, as canonical JSON, and when.
    content = models.TextField(blank=True)
    content_sha256 = models.CharField(max_length=64, blank=True)
    fetched_at = models.DateTimeField(null=True)
    # What the inspection is called there, its status then, and the status that we knew before, if it was another.
    inspection_title = models.CharField(max_length=TITLE_LENGTH, blank=True, default="", db_default="")
    inspection_status = models.CharField(max_length=STATUS_LENGTH, blank=True, default="", db_default="")
    previous_status = models.CharField(max_length=STATUS_LENGTH, blank=True, default="", db_default="")

    # Found by asking SnapInspect what had changed, not announced by a delivery.
    recovered = models.BooleanField(default=False)
    # The event that this one repeats, if SnapInspect's answer turns out to be the same.
    repeat_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="repeats", db_index=False)
    # How often a person replayed it after it was done: a part of the handlers' idempotency key.
    replays = models.PositiveSmallIntegerField(default=0)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["received", "processing", "retrying", "done", "failed", "unmatched", "ignored"]),
                name="event_state_is_known",
            ),
            models.CheckConstraint(
                condition=Q(proof__in=["unverified", "verified", "not_checked"]), name="event_proof_is_known"
            ),
        ]
        indexes = [
            # Lists are read from it in order; state and type are last so that what does not match is skipped
            # without reading the row.
            models.Index(fields=["connection", "received_at", "id", "state", "type"], name="event_by_connection"),
            # The few that did not go well; the many others are not in it.
            models.Index(
                fields=["connection", "state", "received_at", "id", "type"],
                condition=Q(state__in=["retrying", "failed", "unmatched", "ignored"]),
                name="event_by_state",
            ),
            models.Index(fields=["connection", "inspection_id", "type", "review_id", "id"], name="event_by_subject"),
            # Figures by day and state, from the index alone; not partial by state, which SQLite would not use.
            models.Index(
                fields=["connection", "state", "received_at"], condition=Q(repeat_of=None), name="event_by_day"
            ),
            models.Index(
                fields=["connection", "next_attempt_at", "id"],
                condition=Q(state__in=["received", "processing", "retrying"]),
                name="event_open",
            ),
            # Without the many that repeat nothing: SQLite would use it to read all of them.
            models.Index(fields=["repeat_of"], condition=Q(repeat_of__isnull=False), name="event_repeats"),
        ]

    def __str__(self) -> str:
        return f"{self.type or 'event'} {self.inspection_id}".strip()

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN

    @property
    def most_attempts(self) -> int:
        """After how many attempts it fails, if they end as the last one did."""
        return self.MOST_REFUSALS if self.last_error_kind == "not_found" else self.MOST_ATTEMPTS

    @property
    def can_be_replayed(self) -> bool:
        """Whether it is finished and its connection may be used again. Reads the connection's row."""
        return not self.is_open and self.connection.state != ConnectionState.DISCONNECTED

    @property
    def place(self) -> tuple[datetime, int]:
        """Its position in lists."""
        return self.received_at, self.pk

    @property
    def look_up_is_to_come(self) -> bool:
        """Whether SnapInspect will be asked before any handler runs: what arrives now cannot be newer than that answer.

        Not once it has content: handlers that have run with that content are not run again.
        """
        return self.state in {self.State.RECEIVED, self.State.RETRYING} and not self.content_sha256

    @property
    def key(self) -> str:
        """The same for every attempt; another one after a person has replayed a finished event."""
        return f"{self.code}-{self.replays}"


class EventDelivery(models.Model):
    """A delivery that announced an event."""

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="+", db_index=False)
    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="+")

    objects = PlainRowsQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event", "delivery"], name="one_link_per_delivery")]

    def __str__(self) -> str:
        return f"delivery {self.delivery_id} of event {self.event_id}"


class Attempt(models.Model):
    """One try to process an event."""

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="timeline")
    at = models.DateTimeField(db_default=Now())
    # Empty when it succeeded.
    error_kind = models.CharField(max_length=30, blank=True)
    # HTTP status of SnapInspect's answer, where there was one.
    status = models.PositiveSmallIntegerField(null=True)
    duration = models.DurationField()
    # The operator's handler that failed, where one did.
    handler = models.CharField(max_length=200, blank=True)

    objects = PlainRowsQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"attempt at event {self.event_id}: {self.error_kind or 'fine'}"


class HandlerRun(models.Model):
    """A handler that has succeeded for an event."""

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="handler_runs", db_index=False)
    handler = models.CharField(max_length=200)
    done_at = models.DateTimeField(db_default=Now())

    objects = PlainRowsQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event", "handler"], name="one_success_per_handler")]

    def __str__(self) -> str:
        return f"{self.handler} for event {self.event_id}"


@receiver(pre_delete, sender=Connection)
def delete_deliveries(sender: Any, instance: Connection, **_: Any) -> None:
    """Deletes the deliveries that concern no other connection."""
    elsewhere = EventDelivery.objects.filter(delivery=models.OuterRef("pk")).exclude(event__connection=instance)
    Delivery.objects.filter(events__connection=instance).filter(~models.Exists(elsewhere)).delete()

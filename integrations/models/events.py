"""What the deliveries mean, and what became of it.

    Event       something that happened, for one connection (carries the state that people see)
    Attempt     one try to process an event                  (its timeline)
    HandlerRun  a handler that has done its part             (so that a retry does not run it again)
    Lane        a connection's queue of events               (one worker at a time, in order)

One delivery yields one event per connection of its company; repeated deliveries of one happening share an event.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Self

from django.db import connection as database
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from accounts.models import Customer, new_code
from integrations.models.connections import Connection
from integrations.models.deliveries import ID_LENGTH, TYPE_LENGTH, Delivery


class EventQuerySet(models.QuerySet["Event"]):
    def open(self) -> Self:
        """Not finished: received, being processed, or to be tried again."""
        return self.filter(state__in=Event.OPEN)

    def due(self) -> Self:
        return self.open().filter(next_attempt_at__lte=Now())

    def shown(self) -> Self:
        """Without those that may turn out to be a repetition of another event: people see them once that is known."""
        return self.filter(repeat_of=None)

    def with_content(self) -> Self:
        return self.exclude(content_sha256="")


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

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="events", db_index=False)
    deliveries = models.ManyToManyField(Delivery, through="EventDelivery", related_name="events")
    state = models.CharField(max_length=12, choices=State, default=State.RECEIVED)
    type = models.CharField(max_length=TYPE_LENGTH, blank=True)
    inspection_id = models.CharField(max_length=ID_LENGTH, blank=True)
    review_id = models.CharField(max_length=ID_LENGTH, blank=True)
    company_id = models.CharField(max_length=ID_LENGTH, blank=True)
    # Of the raw bytes that made it; what a repetition has to equal.
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

    # Found by asking SnapInspect what had changed, not announced by a delivery.
    recovered = models.BooleanField(default=False)
    # The event that this one repeats, if SnapInspect's answer turns out to be the same.
    repeat_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="repeats", db_index=False)
    # How often it was processed anew from the start: a part of the handlers' idempotency key.
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
            # Lists are read from it in order; state and type stand at its end so that what does not match is skipped
            # without looking at the row.
            models.Index(fields=["connection", "received_at", "id", "state", "type"], name="event_by_connection"),
            # What there are few of, among many that went well: those never enter it.
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
            # Not of the many that repeat nothing: SQLite would take it for a short way to all of them.
            models.Index(fields=["repeat_of"], condition=Q(repeat_of__isnull=False), name="event_repeats"),
        ]

    def __str__(self) -> str:
        return f"{self.type or 'event'} {self.inspection_id}".strip()

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN

    @property
    def place(self) -> tuple[datetime, int]:
        """Where it stands in lists."""
        return self.received_at, self.pk

    @property
    def look_up_is_to_come(self) -> bool:
        """Whether SnapInspect will still be asked about it: what arrives now cannot be newer than that answer."""
        return self.state in {self.State.RECEIVED, self.State.RETRYING}

    @property
    def key(self) -> str:
        """The same for every try; another one when a person has a finished event processed again."""
        return f"{self.code}-{self.replays}"


class PlainRows(models.QuerySet[Any]):
    """For tables that are filled by the thousand."""

    def insert(self, *columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Writes rows of plain values in one go, without making an object of each; one that exists already stays."""
        fields = [self.model._meta.get_field(column) for column in columns]
        prepared = [
            tuple(field.get_db_prep_save(value, database) for field, value in zip(fields, row, strict=True))
            for row in rows
        ]
        if not prepared:
            return
        into = f"INSERT INTO {self.model._meta.db_table} ({', '.join(field.column for field in fields)})"
        with database.cursor() as cursor:
            if database.vendor == "postgresql":
                # A list for each column, see `settle` of deliveries. Types without their lengths: a cast would cut.
                lists = ", ".join(f"%s::{(field.db_type(database) or '').partition('(')[0]}[]" for field in fields)
                values = [list(column) for column in zip(*prepared, strict=True)]
                cursor.execute(f"{into} SELECT * FROM unnest({lists}) ON CONFLICT DO NOTHING", values)  # noqa: S608
            else:
                places = ", ".join(["%s"] * len(fields))
                cursor.executemany(f"{into} VALUES ({places}) ON CONFLICT DO NOTHING", prepared)


class EventDelivery(models.Model):
    """Which deliveries an event was announced by."""

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="+", db_index=False)
    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="+")

    objects = PlainRows.as_manager()

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

    objects = PlainRows.as_manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"attempt at event {self.event_id}: {self.error_kind or 'fine'}"


class HandlerRun(models.Model):
    """A handler that has succeeded for an event."""

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="handler_runs", db_index=False)
    handler = models.CharField(max_length=200)
    done_at = models.DateTimeField(db_default=Now())

    objects = PlainRows.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event", "handler"], name="one_success_per_handler")]

    def __str__(self) -> str:
        return f"{self.handler} for event {self.event_id}"


class EventQueueQuerySet(models.QuerySet["EventQueue"]):
    def due(self) -> Self:
        """Those with something to do that nobody is working on. Says nothing about the connection's state."""
        return self.filter(Q(due_at__lte=Now()) | Q(lease_until__lt=Now())).unleased().awake()

    def unleased(self) -> Self:
        return self.filter(Q(lease_until=None) | Q(lease_until__lt=Now()))

    def awake(self) -> Self:
        return self.filter(Q(paused_until=None) | Q(paused_until__lte=Now()))

    def with_gap(self) -> Self:
        """Those that may have missed something."""
        return self.filter(gap_since__isnull=False)

    def call(self, connection_ids: Iterable[int]) -> None:
        """Has these connections' events looked at; makes the lanes that do not exist yet.

        In a transaction it also keeps workers from writing about these events until the caller commits.
        """
        ids = list(connection_ids)
        lanes = self.filter(pk__in=ids)
        soon = models.Case(models.When(due_at__lte=Now(), then=models.F("due_at")), default=Now())
        if lanes.update(due_at=soon) < len(ids):
            missing = set(ids) - set(lanes.values_list("pk", flat=True))
            self.bulk_create(
                [EventQueue(connection_id=pk, due_at=Now()) for pk in sorted(missing)], ignore_conflicts=True
            )


class EventQueue(models.Model):
    """A connection's queue. One worker at a time: events are processed in order, and a slow account costs one thread.

    The events' rows are the truth; `due_at` is only where to look first, and the sweep mends it.
    """

    connection = models.OneToOneField(
        Connection, primary_key=True, on_delete=models.CASCADE, related_name="event_queue"
    )
    # After a silence of this length SnapInspect may have given up on deliveries, or not have sent them.
    GAP = timedelta(minutes=10)

    due_at = models.DateTimeField(null=True, db_index=True)
    lease_owner = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True, db_index=True)
    # SnapInspect does not answer, or too many guesses came to nothing: no event of this connection is tried before.
    paused_until = models.DateTimeField(null=True)
    pauses = models.PositiveSmallIntegerField(default=0)
    pause_kind = models.CharField(max_length=30, blank=True)
    # When all was well for the last time, and where recovery has to begin.
    fine_at = models.DateTimeField(db_default=Now())
    gap_since = models.DateTimeField(null=True)

    objects = EventQueueQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["gap_since"], condition=Q(gap_since__isnull=False), name="queue_gap"),
            models.Index(fields=["paused_until"], condition=Q(paused_until__isnull=False), name="queue_paused"),
        ]

    def __str__(self) -> str:
        return f"queue of connection {self.pk}"


class LookupLimit(models.Model):
    """How many look-ups of a customer's came to nothing lately: guessed IDs must not cost more than a trickle."""

    customer = models.OneToOneField(Customer, primary_key=True, on_delete=models.CASCADE, related_name="+")
    # Counted, because SQLite's clock and Python's spell one moment differently: they cannot be compared for equality.
    window = models.PositiveBigIntegerField(default=1)
    window_began_at = models.DateTimeField(db_default=Now())
    used = models.PositiveSmallIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.used} look-ups of {self.customer}"


class NamedLockQuerySet(models.QuerySet["NamedLock"]):
    def take(self, name: str) -> None:
        """Waits until nobody else is in the middle of it, and keeps everybody else waiting until the caller commits."""
        if self.filter(name=name).update(taken_at=Now()) != 1:
            self.bulk_create([NamedLock(name=name)], ignore_conflicts=True)
            self.filter(name=name).update(taken_at=Now())

    def prove_room(self, sample: bytes) -> None:
        """Raises DatabaseError when the database does not take a write of this; nothing of it stays."""
        with transaction.atomic():
            self.take("room")
            for room in (sample, b""):
                self.filter(name="room").update(room=room)


class NamedLock(models.Model):
    """A row that is locked while something is done that one worker may do at a time; tells when that last was."""

    name = models.CharField(max_length=20, primary_key=True)
    taken_at = models.DateTimeField(db_default=Now())
    room = models.BinaryField(default=bytes, db_default=b"")

    objects = NamedLockQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name} at {self.taken_at:%Y-%m-%d %H:%M:%S}"


@receiver(pre_delete, sender=Connection)
def erase_deliveries(sender: Any, instance: Connection, **_: Any) -> None:
    """A customer that goes takes along the deliveries that concerned nobody else."""
    elsewhere = EventDelivery.objects.filter(delivery=models.OuterRef("pk")).exclude(event__connection=instance)
    Delivery.objects.filter(events__connection=instance).filter(~models.Exists(elsewhere)).delete()

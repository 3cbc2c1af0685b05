"""The queue of each connection's events, and the limit for look-ups that fail."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Self

from django.db import connection as database
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.kept_queries import TEXT, WAIT, KeptUpdate
from accounts.models import Customer
from integrations.models.connections import Connection
from integrations.models.leases import UNLEASED
from integrations.models.plain_rows import now


class EventQueueQuerySet(models.QuerySet["EventQueue"]):
    def due(self) -> Self:
        """Those with something to do that nobody is working on. Says nothing about the connection's state."""
        return self.filter(Q(due_at__lte=Now()) | Q(lease_until__lt=Now())).unleased().unpaused()

    def unleased(self) -> Self:
        return self.filter(UNLEASED)

    def unpaused(self) -> Self:
        return self.filter(Q(paused_until=None) | Q(paused_until__lte=Now()))

    def with_gap(self) -> Self:
        """Those that may have missed something."""
        return self.filter(gap_since__isnull=False)

    def with_gap_due(self) -> Self:
        """Those of them whose next try to list what was missed is due."""
        return self.with_gap().filter(Q(gap_retry_at=None) | Q(gap_retry_at__lte=Now()))

    def note_gap(self) -> None:
        """Notes that deliveries may have been missed, where nothing succeeded for EventQueue.GAP."""
        self.filter(gap_since=None, fine_at__lt=Now() - EventQueue.GAP).update(gap_since=models.F("fine_at"))

    def wake(self, connection_ids: Iterable[int]) -> None:
        """Makes the queues of these connections due now; creates those that do not exist yet.

        In a transaction it also keeps workers from writing about these events until the caller commits.
        """
        ids = list(connection_ids)
        if not ids:
            return
        table, places = self.model._meta.db_table, ", ".join(["%s"] * len(ids))
        earlier_or_now = f"CASE WHEN due_at <= {now()} THEN due_at ELSE {now()} END"
        # SQL: other writers wait meanwhile, and Django takes longer to write this than a database to do it.
        with database.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET due_at = {earlier_or_now} WHERE connection_id IN ({places})", ids)  # noqa: S608
            woken: int = cursor.rowcount
        if woken < len(ids):
            missing = set(ids) - set(self.filter(pk__in=ids).values_list("pk", flat=True))
            self.bulk_create(
                [EventQueue(connection_id=pk, due_at=Now()) for pk in sorted(missing)], ignore_conflicts=True
            )


def _leased(queue_id: int) -> EventQueueQuerySet:
    return EventQueue.objects.filter(pk=queue_id, lease_owner=TEXT)


class EventQueue(models.Model):
    """A connection's queue. One worker at a time: events are processed in order, and a slow account costs one thread.

    The events' rows are the truth; `due_at` only says where to look first, and the sweep corrects it.
    """

    connection = models.OneToOneField(
        Connection, primary_key=True, on_delete=models.CASCADE, related_name="event_queue"
    )
    # After a silence of this length SnapInspect may have given up on deliveries, or not have sent them.
    GAP = timedelta(minutes=10)

    due_at = models.DateTimeField(null=True, db_index=True)
    lease_owner = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True, db_index=True)
    # SnapInspect does not answer, or too many look-ups failed: no event of this connection is tried before.
    paused_until = models.DateTimeField(null=True)
    pauses = models.PositiveSmallIntegerField(default=0)
    pause_kind = models.CharField(max_length=30, blank=True)
    # When something last succeeded, and where recovery has to begin.
    fine_at = models.DateTimeField(db_default=Now())
    gap_since = models.DateTimeField(null=True)
    # How often what was missed since then could not be listed, and when to try again.
    gap_tries = models.PositiveSmallIntegerField(default=0, db_default=0)
    gap_retry_at = models.DateTimeField(null=True)

    objects = EventQueueQuerySet.as_manager()

    # Of the queue's ID, with the lease's owner as `text` and its length as `wait`. They return 0 when the lease is
    # somebody else's. Kept, since each batch of events takes them, and on SQLite nobody stores a delivery meanwhile.
    renew_lease = KeptUpdate(_leased, lease_until=Now() + WAIT)
    renew_lease_after_success = KeptUpdate(
        _leased, lease_until=Now() + WAIT, fine_at=Now(), pauses=0, paused_until=None, pause_kind=""
    )
    end_lease = KeptUpdate(_leased, lease_owner="", lease_until=None)

    class Meta:
        indexes = [
            models.Index(fields=["gap_since"], condition=Q(gap_since__isnull=False), name="queue_gap"),
            models.Index(fields=["paused_until"], condition=Q(paused_until__isnull=False), name="queue_paused"),
        ]

    def __str__(self) -> str:
        return f"queue of connection {self.pk}"


class LookupLimit(models.Model):
    """How many look-ups of a customer's failed lately: guessed IDs must cost little."""

    customer = models.OneToOneField(Customer, primary_key=True, on_delete=models.CASCADE, related_name="+")
    # Not used any more; the version before does. Dropped a release later.
    window = models.PositiveBigIntegerField(default=1)
    window_began_at = models.DateTimeField(db_default=Now())
    used = models.PositiveSmallIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.used} look-ups of {self.customer}"

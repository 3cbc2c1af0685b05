"""Locks by name, for what one worker may do at a time."""

from django.db import models, transaction
from django.db.models.functions import Now

from accounts.kept_queries import TEXT, KeptUpdate


class NamedLockQuerySet(models.QuerySet["NamedLock"]):
    def lock(self, name: str) -> None:
        """Waits for the lock, and holds it until the caller's transaction ends."""
        if NamedLock.take(0, text=name) != 1:
            self.bulk_create([NamedLock(name=name)], ignore_conflicts=True)
            NamedLock.take(0, text=name)

    def check_space(self, sample: bytes) -> None:
        """Raises DatabaseError when the database cannot store these bytes. Keeps nothing of them."""
        with transaction.atomic():
            self.lock("room")
            for room in (sample, b""):
                self.filter(name="room").update(room=room)


class NamedLock(models.Model):
    """A row that is locked while something is done; tells when that was done last."""

    name = models.CharField(max_length=20, primary_key=True)
    taken_at = models.DateTimeField(db_default=Now())
    room = models.BinaryField(default=bytes, db_default=b"")

    objects = NamedLockQuerySet.as_manager()

    # Kept: whoever holds a lock holds up others, and Django takes longer to write this than a database to do it.
    take = KeptUpdate(lambda _: NamedLock.objects.filter(name=TEXT), taken_at=Now())

    def __str__(self) -> str:
        return f"{self.name} at {self.taken_at:%Y-%m-%d %H:%M:%S}"

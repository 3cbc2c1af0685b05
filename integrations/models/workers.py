"""Background workers: one row for each process that sweeps."""

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> "WorkerQuerySet":
        """Workers that have swept lately."""
        return self.filter(swept_at__gt=Now() - Worker.SILENT_AFTER)

    def note_sweep(self, name: str) -> None:
        """Records a sweep of this process, and deletes workers that ended long ago."""
        if not self.filter(name=name).update(swept_at=Now()):
            self.bulk_create([Worker(name=name)], ignore_conflicts=True)
            self.filter(swept_at__lt=Now() - Worker.FORGOTTEN_AFTER).delete()


class Worker(models.Model):
    SILENT_AFTER = timedelta(seconds=60)
    FORGOTTEN_AFTER = timedelta(days=1)

    # Host and process: what an operator has to look for.
    name = models.CharField(max_length=80, primary_key=True)
    started_at = models.DateTimeField(db_default=Now())
    swept_at = models.DateTimeField(db_default=Now())

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["-swept_at"]
        constraints = [models.CheckConstraint(condition=~Q(name=""), name="worker_has_a_name")]

    def __str__(self) -> str:
        return self.name

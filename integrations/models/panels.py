"""Panels, the answers last shown in them, and calls of the explorer."""

from datetime import timedelta
from typing import Any, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Customer, User, new_code
from integrations.models.connection_states import State
from integrations.models.connections import Connection


class PanelQuerySet(models.QuerySet["Panel"]):
    def active(self) -> Self:
        return self.filter(is_active=True)


class Panel(models.Model):
    """A table on every customer's dashboard, filled live from one API path. `calls.tables` explains dotted paths.

    The built-in one is made by `Panel.built_in()` and is no row: its answers are those without a panel.
    """

    BUILT_IN = "account"  # letters that codes of rows never have
    SHORTEST_REFRESH, LONGEST_REFRESH = 10, 86_400  # seconds

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    title = models.CharField(max_length=80)
    path = models.CharField("API path", max_length=500)
    rows_at = models.CharField("rows are at", max_length=200, blank=True)
    columns = models.TextField(max_length=3000)
    refresh_seconds = models.PositiveIntegerField(
        "refresh after (seconds)",
        default=60,
        validators=[MinValueValidator(SHORTEST_REFRESH), MaxValueValidator(LONGEST_REFRESH)],
    )
    position = models.PositiveSmallIntegerField("order", default=0)
    is_active = models.BooleanField("active", default=False)

    objects = PanelQuerySet.as_manager()

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return self.title

    @classmethod
    def built_in(cls) -> "Panel":
        """Who the connection's account is, as `/user` tells: the one thing that SnapInspect documents."""
        return cls(code=cls.BUILT_IN, title="SnapInspect account", path="user", refresh_seconds=60, is_active=True)

    @property
    def is_wide(self) -> bool:
        """Whether it needs the whole width of a page."""
        return len(self.columns.splitlines()) > 3

    @property
    def is_built_in(self) -> bool:
        return self.code == self.BUILT_IN


class PanelAnswerQuerySet(models.QuerySet["PanelAnswer"]):
    def due(self) -> Self:
        """Old enough to be asked for again, and asked for by nobody at this moment."""
        return self.filter(next_ask_at__lte=Now())

    def outdated(self) -> Self:
        return self.filter(next_ask_at__lt=Now() - PanelAnswer.KEPT)


class PanelAnswer(models.Model):
    """What a panel last showed of one connection: the cells, not the answer they were taken from. Stored in clear.

    Not in Django's cache: a foreign key ties the customer's data to their connection, so no wrong cache key can show
    them to another customer. The row goes when the connection is disconnected, when the panel is changed, and KEPT
    after somebody last looked.
    """

    LONGEST_DETAIL = 600
    KEPT = timedelta(days=7)
    # Longer than any call for it may take. When the process that asks is killed, others may ask after this.
    CLAIM = timedelta(seconds=45)
    # The pause after a failure.
    AFTER_FAILURE = timedelta(seconds=15)

    panel = models.ForeignKey(Panel, null=True, on_delete=models.CASCADE, related_name="answers")
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="panel_answers")
    # The claim of whoever asks now, the refresh time and the pause after a failure in one.
    next_ask_at = models.DateTimeField(db_default=Now())
    table = models.JSONField(null=True)
    fetched_at = models.DateTimeField(null=True)
    # Why the last call failed, empty if it did not; `detail` says it to staff.
    error_kind = models.CharField(max_length=30, blank=True)
    status = models.PositiveSmallIntegerField(null=True)
    detail = models.CharField(max_length=LONGEST_DETAIL, blank=True)

    objects = PanelAnswerQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["panel", "connection"], name="one_answer_per_panel"),
            # NULL is not equal to NULL: the built-in panel needs a constraint of its own.
            models.UniqueConstraint(
                fields=["connection"], condition=Q(panel=None), name="one_answer_of_the_built_in_panel"
            ),
        ]
        indexes = [models.Index(fields=["next_ask_at"], name="panel_answer_next_ask")]

    def __str__(self) -> str:
        return f"answer {self.pk}"

    def claim(self) -> bool:
        """Whether the caller may ask SnapInspect: of all that look at the same moment, in any process, one may."""
        due = PanelAnswer.objects.due().filter(pk=self.pk)
        return due.update(next_ask_at=Now() + PanelAnswer.CLAIM) == 1

    def keep(self, table: dict[str, Any], *, seconds: int) -> None:
        """Stores a table that is fresh for so many seconds."""
        self._write(
            table=table, fetched_at=Now(), error_kind="", status=None, detail="",
            next_ask_at=Now() + timedelta(seconds=seconds),
        )  # fmt: skip

    def note_failure(self, error_kind: str, *, status: int | None, detail: str, may_show_last: bool) -> None:
        """Stores why nothing was fetched, and deletes the last table unless `may_show_last`."""
        forgotten = {} if may_show_last else {"table": None, "fetched_at": None}
        self._write(
            error_kind=error_kind, status=status, detail=detail[: PanelAnswer.LONGEST_DETAIL],
            next_ask_at=Now() + PanelAnswer.AFTER_FAILURE, **forgotten,
        )  # fmt: skip

    def release(self) -> None:
        """Ends a claim that was not used."""
        self._write(next_ask_at=Now())

    def _write(self, **changes: Any) -> None:
        # A disconnect may have deleted the row while SnapInspect was answering: then nothing is stored.
        rows = PanelAnswer.objects.filter(pk=self.pk).exclude(connection__state=State.DISCONNECTED)
        if rows.update(**changes):
            self.refresh_from_db()


class ExplorerCall(models.Model):
    """The record of one call in the explorer, without its answer."""

    KEPT_PER_CUSTOMER = 50

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="explorer_calls")
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="+")
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(db_default=Now())
    path = models.CharField(max_length=4000)
    # Empty without an answer; then error_kind says why.
    status = models.PositiveSmallIntegerField(null=True)
    error_kind = models.CharField(max_length=30, blank=True)
    duration = models.DurationField(default=timedelta)
    size = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"GET {self.path}"

    @property
    def succeeded(self) -> bool:
        return self.status is not None and self.status < 300


class ExplorerAnswerQuerySet(models.QuerySet["ExplorerAnswer"]):
    def outdated(self) -> Self:
        return self.filter(at__lt=Now() - ExplorerAnswer.KEPT)

    def readable(self) -> Self:
        return self.filter(at__gte=Now() - ExplorerAnswer.KEPT)


class ExplorerAnswer(models.Model):
    """The last answer that a person got in the explorer, for that person alone, so that the page can be reloaded."""

    KEPT = timedelta(minutes=10)
    LONGEST = 200_000  # characters

    call = models.OneToOneField(ExplorerCall, on_delete=models.CASCADE, related_name="answer")
    by = models.OneToOneField(User, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(db_default=Now(), db_index=True)
    text = models.TextField()
    is_json = models.BooleanField()
    is_cut = models.BooleanField()

    objects = ExplorerAnswerQuerySet.as_manager()

    def __str__(self) -> str:
        return f"answer to {self.call_id}"

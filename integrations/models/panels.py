"""What the operator lets customers see live from the API, what was last seen, and what owners asked it themselves."""

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
    """A table on every customer's dashboard, filled live from one path of the API. `shaping` explains the dotted paths.

    The built-in one is made by `Panel.built_in()` and is no row: its answers are those without a panel.
    """

    BUILT_IN = "account"  # letters that codes of rows never have

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    title = models.CharField(max_length=80)
    path = models.CharField("API path", max_length=500)
    rows_at = models.CharField("rows are at", max_length=200, blank=True)
    columns = models.TextField(max_length=3000)
    refresh_seconds = models.PositiveIntegerField(
        "refresh after (seconds)", default=60, validators=[MinValueValidator(10), MaxValueValidator(86_400)]
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
    """What a panel last showed of one connection: the cells, not the answer they were taken from.

    Why a table and not Django's cache: these are the customer's data. Here a row hangs on its connection by a foreign
    key, so that no key put together wrongly can show it to another customer, and it goes when the connection is
    disconnected, when the panel is changed, and KEPT after it was last of use. It is stored in clear, as events are.
    """

    KEPT = timedelta(days=7)
    # Longer than any call for it may take: who asks and is killed does not keep others from asking.
    CLAIM = timedelta(seconds=45)
    # After a failure, so that everybody who looks while SnapInspect hangs does not make it worse.
    AFTER_FAILURE = timedelta(seconds=15)

    panel = models.ForeignKey(Panel, null=True, on_delete=models.CASCADE, related_name="answers")
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="panel_answers")
    # Moved ahead by who is about to ask: the claim, the refresh time and the pause after a failure in one.
    next_ask_at = models.DateTimeField(db_default=Now())
    table = models.JSONField(null=True)
    fetched_at = models.DateTimeField(null=True)
    # Why the last call brought nothing, empty if it did; `detail` says it to staff.
    error_kind = models.CharField(max_length=30, blank=True)
    status = models.PositiveSmallIntegerField(null=True)
    detail = models.CharField(max_length=600, blank=True)

    objects = PanelAnswerQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["panel", "connection"], name="one_answer_per_panel"),
            # Null is unlike null: the built-in panel needs a rule of its own.
            models.UniqueConstraint(
                fields=["connection"], condition=Q(panel=None), name="one_answer_of_the_built_in_panel"
            ),
        ]
        indexes = [models.Index(fields=["next_ask_at"], name="panel_answer_next_ask")]

    def __str__(self) -> str:
        return f"answer {self.pk}"

    def claim(self) -> bool:
        """Whether it is ours to ask: of all who look at the same moment, in any number of processes, one does."""
        due = PanelAnswer.objects.due().filter(pk=self.pk)
        return due.update(next_ask_at=Now() + PanelAnswer.CLAIM) == 1

    def keep(self, table: dict[str, Any], *, seconds: int) -> None:
        """Stores what was just fetched, good for so many seconds."""
        self._write(
            table=table, fetched_at=Now(), error_kind="", status=None, detail="",
            next_ask_at=Now() + timedelta(seconds=seconds),
        )  # fmt: skip

    def note_failure(self, error_kind: str, *, status: int | None, detail: str, may_show_last: bool) -> None:
        """Stores why nothing was fetched. Not `may_show_last`: what was there before is not true any more."""
        forgotten = {} if may_show_last else {"table": None, "fetched_at": None}
        self._write(
            error_kind=error_kind, status=status, detail=detail[:600],
            next_ask_at=Now() + PanelAnswer.AFTER_FAILURE, **forgotten,
        )  # fmt: skip

    def let_go(self) -> None:
        """Gives a claim back unused."""
        self._write(next_ask_at=Now())

    def _write(self, **changes: Any) -> None:
        # A disconnect may have deleted the row while SnapInspect was answering: then nothing is stored any more.
        rows = PanelAnswer.objects.filter(pk=self.pk).exclude(connection__state=State.DISCONNECTED)
        if rows.update(**changes):
            self.refresh_from_db()


class ExplorerCall(models.Model):
    """One question that somebody asked the API in the explorer: the record of it, without the answer."""

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
    """The last answer a person got in the explorer, so that its page can be reloaded: theirs alone, for minutes."""

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

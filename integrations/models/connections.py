"""Connections."""

import json
from datetime import datetime, timedelta
from typing import Any, Self

from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.functional import cached_property

from accounts.kept_queries import KeptQuery
from accounts.models import AuditEntry, Customer, User, new_code
from integrations.models.connection_states import SETUP_ERRORS, USABLE, Kind, Notice, State, incident_changes
from integrations.models.outgoing import ConnectionType, OutgoingMessage
from integrations.models.token_pairs import TokenPair
from integrations.models.webhook_endpoints import WebhookEndpoint

# How often *Test connection* may call SnapInspect for a connection.
MOST_TESTS = 6
TESTS_COUNTED_FOR = timedelta(minutes=1)


class ConnectionQuerySet(models.QuerySet["Connection"]):
    def shown(self) -> Self:
        """With their candidates, for pages: two queries in all, without sealed tokens."""
        return self.select_related("connected_by").prefetch_related(
            models.Prefetch("pairs", queryset=TokenPair.objects.for_pages(), to_attr="candidates")
        )

    def due_for_check(self) -> Self:
        return self.exclude(state=State.DISCONNECTED).filter(next_check_at__lte=Now())

    def with_customer(self, pk: int) -> "Connection | None":
        """The one with this ID, read with its customer by kept SQL; None if there is none any more."""
        found = _with_customer(pk)
        return found[0] if found else None

    def usable(self) -> Self:
        """Connections in a state in which SnapInspect may be called, see `is_usable`."""
        return self.filter(state__in=USABLE)

    def needing_a_person(self) -> Self:
        """Connections that wait for a reconnect, or for an answer to which company they are for."""
        questions = TokenPair.objects.candidates().filter(connection=models.OuterRef("pk"), asks=True)
        return self.filter(Q(state=State.NEEDS_RECONNECT) | Q(models.Exists(questions)))

    def others_of(self, company: str, connection: "Connection") -> Self:
        """Other connections to this company, of whatever customer: for work that shows nobody anything."""
        same = self.exclude(company_id="").filter(company_id=company)
        return same.exclude(pk=connection.pk).exclude(state=State.DISCONNECTED)

    def check_soon(self) -> None:
        """Makes the next routine check of these connections due now."""
        self.exclude(next_check_at=None).update(next_check_at=Now())

    def with_notice_due(self) -> Self:
        return self.exclude(notice="").filter(next_notice_at__lte=Now())


class Connection(models.Model):
    """A customer's link to one SnapInspect account; keeps its identity and history through every reconnect.

    `state` tells the health of the pair in use. A pair that is still being proven beside it is its candidate.
    """

    NAME_LENGTH = 100

    code = models.CharField(max_length=16, unique=True, default=new_code, editable=False)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="connections")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.CONNECT)
    state = models.CharField(max_length=20, choices=State, default=State.CONNECTING)
    # What /user told. The company ID is SnapInspect's; empty while it is not known.
    company_id = models.CharField(max_length=20, blank=True)
    company_name = models.CharField(max_length=200, blank=True)
    # The customer's own name for it; wins over SnapInspect's.
    own_name = models.CharField("name", max_length=NAME_LENGTH, blank=True, default="", db_default="")
    account_name = models.CharField(max_length=200, blank=True)
    account_email = models.CharField(max_length=200, blank=True)
    # The operator's own notes, given through the API: short strings by name.
    metadata = models.JSONField(null=True, blank=True, editable=False)
    connected_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    connected_at = models.DateTimeField(null=True)
    proved_at = models.DateTimeField("last proved working", null=True)
    state_since = models.DateTimeField(db_default=Now())
    error_kind = models.CharField(max_length=30, blank=True)
    failed_checks = models.PositiveSmallIntegerField(default=0)
    next_check_at = models.DateTimeField(null=True)
    # When SnapInspect last refused the token in use, proven; empty once it accepts it.
    refused_at = models.DateTimeField(null=True)
    # Since when an exchange after a refusal has not helped yet: these are limited, see `tokens.exchange_limit`.
    exchange_pending_since = models.DateTimeField(null=True)
    # How often its access was ended here: what an exchange has brought since then counts, and nothing from before.
    disconnects = models.PositiveIntegerField(default=0, db_default=0)
    # How often somebody has pressed *Test connection* since when, see `claim_test`.
    tests = models.PositiveSmallIntegerField(default=0, db_default=0)
    tests_since = models.DateTimeField(db_default=Now())
    # One incident, one mail: since when a person is needed, and what their owners have still to be told.
    incident_since = models.DateTimeField(null=True)
    notice = models.CharField(max_length=10, choices=Notice, blank=True)
    next_notice_at = models.DateTimeField(null=True)

    objects = ConnectionQuerySet.as_manager()

    # Its candidate, if there is one; set by ConnectionQuerySet.shown().
    candidates: "list[TokenPair]"
    # Annotated by integrations.views.figures.with_last_event(), for pages.
    last_event_at: datetime | None
    # Annotated by the dashboard: whether a webhook endpoint of its customer is in trouble.
    endpoint_in_trouble: bool

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=State.values), name="connection_state_is_known"),
            models.UniqueConstraint(
                fields=["customer", "company_id"],
                condition=~Q(company_id=""),
                name="one_connection_per_company",
            ),
        ]
        indexes = [
            models.Index(fields=["next_check_at"], name="connection_next_check"),
            models.Index(fields=["next_notice_at"], name="connection_next_notice"),
            models.Index(fields=["refused_at"], name="connection_refused"),
            models.Index(fields=["proved_at"], name="connection_proved"),
            models.Index(
                fields=["exchange_pending_since"],
                condition=Q(exchange_pending_since__isnull=False),
                name="connection_in_exchange",
            ),
            # Whose a delivery is, asked for every batch of them.
            models.Index(fields=["company_id"], name="connection_company"),
            # Counted by the operations page, and looked for by the sweep.
            models.Index(fields=["state", "state_since"], name="connection_state"),
            models.Index(fields=["error_kind"], condition=~Q(error_kind=""), name="connection_troubled"),
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def name_for_staff(self) -> str:
        """Its name with its customer and its code: names of connections say nothing about whose they are."""
        return f"{self.label} · {self.customer} · {self.code}"

    @property
    def label(self) -> str:
        """The name people know it by."""
        return (
            self.own_name
            or self.company_name
            or (f"Company {self.company_id}" if self.company_id else "SnapInspect account")
        )

    @property
    def candidate(self) -> "TokenPair | None":
        """The pair that is still being proven, if there is one."""
        fetched: list[TokenPair] | None = getattr(self, "candidates", None)
        if fetched is None:
            fetched = list(self.pairs.for_pages()[:1])
        return fetched[0] if fetched else None

    @cached_property
    def disconnected_by(self) -> str:
        """The address of the person who disconnected it last. One query."""
        disconnects = AuditEntry.objects.filter(
            customer=self.customer_id, subject=self.code, kind="connection.disconnected"
        )
        return disconnects.order_by("-at", "-pk").values_list("actor_name", flat=True).first() or ""

    @property
    def badge(self) -> State:
        """The state that people see: that of a candidate in progress, if there is one."""
        candidate = self.candidate
        if candidate is None or candidate.asks:
            return State(self.state)
        if candidate.error_kind in SETUP_ERRORS:
            return State.SETUP_PROBLEM
        return State.TROUBLE if candidate.error_kind else State.CONNECTING

    @property
    def is_connecting(self) -> bool:
        return self.badge == State.CONNECTING

    @property
    def is_finishing(self) -> bool:
        """Whether a worker is about to change what people see."""
        return self.candidate is not None and not self.candidate.asks

    @property
    def needs_a_person(self) -> bool:
        """Whether it stays as it is until somebody does something, see `ConnectionQuerySet.needing_a_person`."""
        return self.state == State.NEEDS_RECONNECT or bool(self.candidate and self.candidate.asks)

    @property
    def is_personal(self) -> bool:
        return self.kind == Kind.PERSONAL

    @property
    def is_usable(self) -> bool:
        """Whether SnapInspect may be called with the current pair."""
        return self.state in USABLE

    def rename(self, name: str) -> None:
        """Gives it the customer's own name; an empty one brings SnapInspect's back."""
        self.own_name = name
        self.save(update_fields=["own_name"])

    def claim_test(self) -> bool:
        """Whether one more *Test connection* may call SnapInspect now: MOST_TESTS a minute, whoever presses."""
        mine = Connection.objects.filter(pk=self.pk)
        if mine.filter(tests_since__lte=Now() - TESTS_COUNTED_FOR).update(tests=1, tests_since=Now()) == 1:
            return True
        return mine.filter(tests__lt=MOST_TESTS).update(tests=F("tests") + 1) == 1

    def check_soon(self) -> None:
        """Makes the next routine check due now."""
        Connection.objects.filter(pk=self.pk).check_soon()

    def move_to(self, state: State, *, error_kind: str = "", only_from: State | None = None, **changes: Any) -> None:
        """Writes the new state and what goes with it, and nothing else of the row.

        only_from: nothing is written if the row has another state by now.

        A connection that another process has disconnected stays disconnected: only a caller that has read that state
        changes it.
        """
        if self.state != state:
            changes["state_since"] = Now()
        changes |= incident_changes(state)
        changes |= {"state": state, "error_kind": error_kind}
        rows = Connection.objects.filter(pk=self.pk)
        if State.DISCONNECTED not in {state, self.state}:
            rows = rows.exclude(state=State.DISCONNECTED)
        if only_from is not None:
            rows = rows.filter(state=only_from)
        if endpoints := WebhookEndpoint.objects.hearing_of(self.customer_id):
            self._move_and_tell(rows, changes, endpoints)
        else:
            rows.update(**changes)
        self.refresh()

    def refresh(self) -> None:
        """As `refresh_from_db`, but by SQL that is kept: each check of a connection does it twice."""
        found = Connection.objects.with_customer(self.pk)
        if found is None:
            raise Connection.DoesNotExist
        self.__dict__ |= found.__dict__

    def _move_and_tell(
        self, rows: ConnectionQuerySet, changes: dict[str, Any], endpoints: list[WebhookEndpoint]
    ) -> None:
        """Makes the changes, and writes the message that goes with them for these endpoints."""
        with transaction.atomic():
            # Locked: what another process has written decides which change this is.
            before = rows.select_for_update().only("state", "incident_since", "connected_at").first()
            if before is None:
                return
            rows.update(**changes)
            type = _message_type(before, changes["state"])
            if type is not None:
                self.refresh_from_db()
                OutgoingMessage.objects.write(
                    [(type.value, json.dumps(self._data()))], customer_id=self.customer_id, endpoints=endpoints
                )

    def _data(self) -> dict[str, Any]:
        """What a message says about it; the members have the names that they have in the API."""
        return {
            "customer": {"code": self.customer.code, "external_id": self.customer.external_id or None},
            "connection": self.code,
            "company_id": self.company_id or None,
            "name": self.label,
            "since": self.state_since.isoformat(),
        }


_with_customer = KeptQuery(lambda pk: Connection.objects.filter(pk=pk).select_related("customer"))


def _message_type(before: Connection, state: State) -> ConnectionType | None:
    """The message that this change of state is worth; an outage that passes by itself is worth none."""
    if state == State.NEEDS_RECONNECT and before.incident_since is None:
        return ConnectionType.NEEDS_RECONNECT
    if state == State.DISCONNECTED and before.state != state:
        return ConnectionType.DISCONNECTED
    if state == State.CONNECTED and before.connected_at is not None and before.incident_since is not None:
        return ConnectionType.WORKING_AGAIN
    if state == State.CONNECTED and (before.connected_at is None or before.state == State.DISCONNECTED):
        return ConnectionType.CONNECTED
    return None

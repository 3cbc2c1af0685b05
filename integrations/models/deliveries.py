"""What SnapInspect's server posted: the addresses it may post to, and every POST with its raw body.

A delivery is stored before it is acknowledged. Events are made from it later (see `events`).
"""

from collections.abc import Sequence
from typing import Self

from django.db import connection as database
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from integrations.models.connection_states import State
from integrations.models.connections import Connection
from integrations.models.plain_rows import as_json, as_table

ID_LENGTH = 20
TYPE_LENGTH = 100
# The connection whose own address it came to, the content type, and the body.
Posted = tuple[int | None, str, bytes]


class WebhookAddress(models.Model):
    """A connection's own webhook address: found by the hash of its secret, shown by unsealing it."""

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="webhook_addresses")
    secret_hash = models.CharField(max_length=64, unique=True)
    sealed_secret = models.BinaryField()
    key_id = models.CharField(max_length=8)
    created_at = models.DateTimeField(db_default=Now())
    # Empty for the address in use; set for the one before it when it was replaced.
    valid_until = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["connection"], condition=Q(valid_until=None), name="one_webhook_address_in_use"
            )
        ]
        indexes = [models.Index(fields=["key_id"], name="webhook_address_key")]

    def __str__(self) -> str:
        return f"webhook address of {self.connection}"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def received(self) -> Self:
        return self.filter(state=Delivery.State.RECEIVED)

    def unmatched(self) -> Self:
        return self.filter(state=Delivery.State.UNMATCHED)

    def parked(self) -> Self:
        """Those that wait for a company or a person. Their number and age are limited."""
        return self.filter(state__in=Delivery.PARKED)

    def of_a_company(self) -> Self:
        """Unmatched ones, sent to the application's address, whose company somebody has connected since."""
        of_company = Connection.objects.exclude(state=State.DISCONNECTED).filter(
            company_id=models.OuterRef("company_id")
        )
        to_application = self.unmatched().filter(connection=None).exclude(company_id="")
        return to_application.filter(models.Exists(of_company))

    def of_their_connection(self) -> Self:
        """Unmatched ones, sent to a connection's own address, that match its company now."""
        to_own = self.unmatched().filter(connection__isnull=False).exclude(connection__state=State.DISCONNECTED)
        return to_own.filter(
            Q(company_id="") | Q(connection__company_id="") | Q(connection__company_id=models.F("company_id"))
        )

    def store(self, *posted: Posted) -> None:
        """Writes deliveries in one statement. Outside a transaction they are committed when this returns."""
        table, places = self.model._meta.db_table, ", ".join(["(%s, %s, %s)"] * len(posted))
        with database.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (connection_id, content_type, body) VALUES {places}",  # noqa: S608
                [value for row in posted for value in row],
            )

    def settle(self, rows: Sequence[tuple[str, str, str, str, str, str, int]]) -> bool:
        """Writes what was read from received deliveries: (state, problem, type, inspection, review, company, id).

        Returns whether all of them still were *received*. If not, another worker has routed some, and the caller has
        to roll back.
        """
        columns = ("state", "problem", "type", "inspection_id", "review_id", "company_id", "id")
        changes = ", ".join(f"{column} = plain.{column}" for column in columns[:-1])
        table = self.model._meta.db_table
        with database.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET {changes} FROM {as_table(self.model, columns)}"  # noqa: S608
                f" WHERE {table}.id = plain.id AND {table}.state = 'received'",
                [as_json(columns, rows)],
            )
            changed: int = cursor.rowcount
        return changed == len(rows)


class Delivery(models.Model):
    """One POST to a webhook address: its raw bytes, and what could be read from them."""

    class State(models.TextChoices):
        RECEIVED = "received", "Received"
        PLACED = "placed", "Placed"
        UNMATCHED = "unmatched", "Unmatched"
        QUARANTINED = "quarantined", "Quarantined"
        IGNORED = "ignored", "Ignored"

    PARKED = (State.UNMATCHED, State.QUARANTINED)

    # Whose own address it came to; empty for the application's. Only partial indexes: each one slows every INSERT.
    connection = models.ForeignKey(
        Connection, null=True, on_delete=models.CASCADE, related_name="own_deliveries", db_index=False
    )
    received_at = models.DateTimeField(db_default=Now())
    content_type = models.CharField(max_length=100, db_default="")
    # Bytes: PostgreSQL's text and JSON refuse NUL, lone surrogates and NaN, and a refused row would lose a message.
    body = models.BinaryField()
    state = models.CharField(max_length=12, choices=State, db_default=State.RECEIVED)
    problem = models.CharField(max_length=30, blank=True, db_default="")
    # What the body says, unverified.
    type = models.CharField(max_length=TYPE_LENGTH, blank=True, db_default="")
    inspection_id = models.CharField(max_length=ID_LENGTH, blank=True, db_default="")
    review_id = models.CharField(max_length=ID_LENGTH, blank=True, db_default="")
    company_id = models.CharField(max_length=ID_LENGTH, blank=True, db_default="")
    # The connection that staff assigned it to.
    assigned_to = models.ForeignKey(Connection, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["received", "placed", "unmatched", "quarantined", "ignored"]),
                name="delivery_state_is_known",
            )
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(state="received"), name="delivery_received"),
            models.Index(fields=["company_id"], condition=Q(state="unmatched"), name="delivery_unmatched"),
            models.Index(
                fields=["state", "id"], condition=Q(state__in=["unmatched", "quarantined"]), name="delivery_parked"
            ),
            models.Index(fields=["connection"], condition=Q(connection__isnull=False), name="delivery_connection"),
            models.Index(fields=["assigned_to"], condition=Q(assigned_to__isnull=False), name="delivery_assigned"),
        ]

    def __str__(self) -> str:
        return f"delivery {self.pk}"

    @property
    def came_to(self) -> str:
        return "the application's address" if self.connection_id is None else "the connection's own address"

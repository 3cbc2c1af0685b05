"""Keys of the API."""

import json
from functools import cache
from typing import Self

from django.db import connection as database
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Customer, User
from accounts.prepared_statements import Prepared
from integrations.models.connections import Connection
from integrations.models.plain_rows import now
from integrations.models.token_pairs import SealedPair, TokenPair


class Scope(models.TextChoices):
    """What a key may do."""

    CUSTOMERS = "customers", "list, read, create and change customers"
    CONNECTIONS_READ = "connections:read", "list and read connections and connect sessions"
    CONNECTIONS_WRITE = "connections:write", "connect, test and disconnect; change metadata"
    EVENTS_READ = "events:read", "list and read events, webhook endpoints and deliveries"
    EVENTS_WRITE = "events:write", "replay events; manage webhook endpoints, test and resend"
    PROXY_READ = "proxy:read", "read data from SnapInspect's API (GET, HEAD)"
    PROXY_WRITE = "proxy:write", "change data in SnapInspect (POST, PUT, PATCH, DELETE)"


_COLUMNS = ["id", "prefix", "name", "scopes", "customer_id", "minute", "requests"]


# Of the connection with this code that a counted key reaches, and of its pair in use: NULL where there is none.
_CALLED = f"""
    connection.id, connection.code, connection.customer_id, pair.id, version, sealed_access, sealed_refresh
    FROM counted
    LEFT JOIN {Connection._meta.db_table} AS connection ON connection.code = %s
      AND (counted.customer_id IS NULL OR connection.customer_id = counted.customer_id)
    LEFT JOIN {TokenPair._meta.db_table} AS pair ON connection_id = connection.id AND role = '{TokenPair.Role.CURRENT}'
"""


@cache
def _count(vendor: str) -> Prepared:
    """The statement that counts a request. SQL: the ORM takes more statements, and most of the time of a request."""
    # The count may be lost with the power: nobody waits until it is on the disk.
    unsynced = "FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unsynced"
    return Prepared(f"""
        UPDATE {ApiKey._meta.db_table} SET
          requests = CASE WHEN minute < %s THEN 1 ELSE requests + 1 END,
          last_used_at = CASE WHEN minute < %s AND last_used_at IS NOT NULL THEN {now()} ELSE last_used_at END,
          minute = CASE WHEN minute < %s THEN %s ELSE minute END
        {unsynced if vendor == "postgresql" else ""}
        WHERE secret_hash = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > {now()})
        RETURNING {", ".join(_COLUMNS)}
    """)  # noqa: S608


@cache
def _count_and_find() -> Prepared:
    """The same with the connection and its pair. SQLite has no UPDATE in a WITH."""
    return Prepared(f"WITH counted AS ({_count('postgresql')}) SELECT counted.*, {_CALLED}")


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def valid(self) -> Self:
        """Neither revoked nor expired, by the database's clock."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None)

    def count_request(self, secret_hash: str, minute: int, *, to_call: str = "") -> "ApiKey | None":
        """The valid key with this hash, with one more of the `requests` of its minute; None if there is none.

        to_call: code of a connection, which is `called` if the key reaches it. Right across processes: the row counts.
        A host whose clock is behind counts in the latest minute that another one has begun. The key has the columns
        that the API needs; others are loaded when they are read.
        """
        parameters: list[int | str] = [minute, minute, minute, minute, secret_hash]
        with database.cursor() as cursor:
            if to_call and database.vendor == "postgresql":
                cursor.execute(_count_and_find(), [*parameters, to_call])
                row = cursor.fetchone()
            else:
                cursor.execute(_count(database.vendor), parameters)
                row = cursor.fetchone()
                if row and to_call:
                    cursor.execute(f"WITH counted AS (SELECT %s AS customer_id) SELECT {_CALLED}", [row[4], to_call])
                    row += cursor.fetchone()
        if row is None:
            return None
        pk, prefix, name, scopes, *numbers = row[: len(_COLUMNS)]
        key = ApiKey.from_db(database.alias, _COLUMNS, [pk, prefix, name, json.loads(scopes), *numbers])
        *connection, pair_id, version, access, refresh = row[len(_COLUMNS) :] or [None] * 7
        if connection[0] is not None:
            pair = None if pair_id is None else SealedPair(pair_id, version, access, refresh)
            key.called = Connection.from_db(database.alias, ["id", "code", "customer_id"], connection), pair
        return key

    def note_first_use(self, pk: int) -> bool:
        """Whether this key was never used before; now it is."""
        return self.filter(pk=pk, last_used_at=None).update(last_used_at=Now()) == 1


class ApiKey(models.Model):
    """A key of the operator's own systems; of a customer's, where it has one: it reaches nothing else."""

    NAME_LENGTH = 100

    # The part that may be shown: it names the key in lists, logs and the audit trail.
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    # Only the hash: who reads the table has no key.
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    name = models.CharField(max_length=NAME_LENGTH)
    scopes = models.JSONField()
    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE, related_name="api_keys")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    # To the minute.
    last_used_at = models.DateTimeField(null=True)
    # Requests within one minute, which is counted since 1970. See `count_request`.
    minute = models.BigIntegerField(default=0, db_default=0)
    requests = models.PositiveIntegerField(default=0, db_default=0)

    # The connection that a request is to call, with its pair in use; None if this key does not reach it.
    called: tuple[Connection, SealedPair | None] | None = None

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.name} (cok_{self.prefix})"

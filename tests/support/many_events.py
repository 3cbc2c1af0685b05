"""Events by the thousand, and what reading them costs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from integrations.models import Connection, Event

# The newest of the made-up events came at this moment, the others a minute apart.
LAST = datetime(2026, 11, 20, 12, tzinfo=UTC)
# As many rows are read where only the first ones are wanted.
FIRST_ROWS = 1000


def make_events(connection: Connection, count: int, **fields: Any) -> list[Event]:
    """Events of this connection, the oldest first; `fields` go to all of them."""
    made = [
        Event(
            connection=connection,
            **{
                "type": "Create_Inspection",
                "inspection_id": str(1000 + number),
                "state": Event.State.DONE,
                "received_at": LAST - timedelta(minutes=count - 1 - number),
                **fields,
            },
        )
        for number in range(count)
    ]
    return Event.objects.bulk_create(made)


def rows_read(asked: CaptureQueriesContext) -> int:
    """How many rows of events the costliest of these queries touches, by PostgreSQL's own count.

    Asserts that none of them goes through the whole table.
    """
    return max(
        (_touched(query["sql"]) for query in asked.captured_queries if _is_about_events(query["sql"])), default=0
    )


def _is_about_events(sql: str) -> bool:
    return sql.startswith(("SELECT", "WITH")) and "integrations_event" in sql


def tables_read_whole(sql: str, *, beyond: int = FIRST_ROWS) -> set[str]:
    """The tables of which PostgreSQL reads more than so many rows without an index to answer this query."""
    nodes = _plan(sql) if sql.startswith("SELECT") else []
    return {
        node["Relation Name"]
        for node in nodes
        if node["Node Type"] == "Seq Scan"
        and node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) > beyond
    }


def _plan(sql: str) -> list[dict[str, Any]]:
    with database.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}".replace("%", "%%"))
        answer = cursor.fetchone()[0]
    return _nodes((json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"])


def _touched(sql: str) -> int:
    nodes = [node for node in _plan(sql) if node.get("Relation Name") == "integrations_event"]
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], sql
    return sum(
        round(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))) for node in nodes
    )


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for below in node.get("Plans", []) for inner in _nodes(below))]

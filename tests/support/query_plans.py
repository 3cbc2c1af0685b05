"""What queries cost: reads PostgreSQL's query plans."""

import json
from typing import Any

from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext


def rows_read(asked: CaptureQueriesContext) -> int:
    """The most rows of events that one of these queries reads, counted by PostgreSQL.

    Fails when one of them reads the whole table.
    """
    return max(
        (_events_read(query["sql"]) for query in asked.captured_queries if _is_about_events(query["sql"])), default=0
    )


def _is_about_events(sql: str) -> bool:
    return sql.startswith(("SELECT", "WITH")) and "integrations_event" in sql


def tables_read_at_length(sql: str, *, beyond: int) -> set[str]:
    """The tables of which PostgreSQL needs more than `beyond` rows to answer this query, though an index serves it."""
    nodes = _plan(sql) if sql.startswith("SELECT") else []
    return {node["Relation Name"] for node in nodes if "Relation Name" in node and _rows(node) > beyond}


def tables_read_whole(sql: str, *, beyond: int) -> set[str]:
    """The tables of which it chooses to read more than `beyond` rows without an index."""
    nodes = _plan(sql, may_scan=True) if sql.startswith("SELECT") else []
    return {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan" and _rows(node) > beyond}


def _plan(sql: str, *, may_scan: bool = False) -> list[dict[str, Any]]:
    """may_scan: the planner's own choice, chance on few rows. Otherwise tables are read by an index if they can be."""
    with transaction.atomic(), database.cursor() as cursor:
        cursor.execute(f"SET LOCAL enable_seqscan = {'on' if may_scan else 'off'}")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}".replace("%", "%%"))
        answer = cursor.fetchone()[0]
    return _nodes((json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"])


def _events_read(sql: str) -> int:
    nodes = [node for node in _plan(sql, may_scan=True) if node.get("Relation Name") == "integrations_event"]
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], sql
    return sum(round(_rows(node)) for node in nodes)


def _rows(node: dict[str, Any]) -> float:
    """The rows of the table that this step read. Of an index PostgreSQL does not say how much it read."""
    removed: float = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    rows: float = node["Actual Loops"] * (node["Actual Rows"] + removed)
    return rows


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for below in node.get("Plans", []) for inner in _nodes(below))]

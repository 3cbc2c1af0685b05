"""Which rows are due, for all kinds of work by one statement.

Its SQL is written once in a process: that takes Django ten times as long as the database needs to answer.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet


@dataclass(frozen=True, eq=False)
class Job:
    """A kind of work.

    rows: what is due, the most urgent first. work: does one of these rows, by its id; it claims the row by a
    conditional UPDATE, since other processes may have read it too. whole: `work` finds its rows itself and gets 0; one
    thread of a process at a time does it. at_once: what is still due after its turn may have the next one. pause: the
    next one begins so many seconds later, since a turn costs as much for one row as for many. varies: `rows` is another
    query each time, not the same one for as long as the process lives.
    """

    rows: Callable[[], "QuerySet[Any]"]
    work: Callable[[int], object]
    whole: bool = False
    at_once: bool = False
    pause: float = 0.0
    varies: bool = False


def count(jobs: Sequence[Job]) -> int:
    """How many rows of these jobs could be worked on now."""
    queries = queries_of(tuple(jobs), ordered=False)
    # No value stands in the SQL itself.
    counts = [f"(SELECT COUNT(*) FROM ({sql}) AS due_{number})" for number, (_, sql, _) in enumerate(queries)]  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {' + '.join(counts)}", [value for *_, values in queries for value in values])
        return int(cursor.fetchone()[0])


def read(most: Mapping[Job, int]) -> dict[Job, list[int]]:
    """The ids of what is due for each job, at most so many."""
    found: dict[Job, list[int]] = {job: [] for job in most}
    for job in most:
        if job.varies:
            rows = job.rows()
            found[job] = [0] * rows.exists() if job.whole else list(rows.values_list("pk", flat=True)[: most[job]])
    selects, parameters = [], []
    queries = queries_of(tuple(job for job in most if not job.varies))
    for number, (job, sql, values) in enumerate(queries):
        selects.append(f"SELECT {number}, pk FROM ({sql} LIMIT %s) AS due_{number}")  # noqa: S608
        parameters += [*values, 1 if job.whole else most[job]]
    if selects:
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(selects), parameters)
            for number, pk in cursor.fetchall():
                job = queries[number][0]
                found[job].append(0 if job.whole else pk)
    return found


@cache
def queries_of(jobs: tuple[Job, ...], *, ordered: bool = True) -> list[tuple[Job, str, tuple[Any, ...]]]:
    """The SQL that finds the rows of each job, with its parameters. Jobs that a setting switches off are missing."""
    written = []
    for job in jobs:
        rows = job.rows().values_list("pk")
        with suppress(EmptyResultSet):
            sql, values = (rows if ordered and not job.whole else rows.order_by()).query.sql_with_params()
            written.append((job, sql, values))
    return written

"""The reference point of the inbox: a plain queue in a table. `python -m bench.reference_queue` fills and drains it.

Each task is claimed by one statement and finished by another, each committed: the least that a queue in a database
usually does.
"""

import json
import os
import sqlite3
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import psycopg

CREATE = "CREATE TABLE bench_task (id integer PRIMARY KEY, state text NOT NULL, taken_at text, finished_at text)"
INDEX = "CREATE INDEX bench_task_ready ON bench_task (id) WHERE state = 'ready'"
CLAIM = (
    "UPDATE bench_task SET state = 'running', taken_at = {now} WHERE id ="
    " (SELECT id FROM bench_task WHERE state = 'ready' ORDER BY id LIMIT 1 {skip}) RETURNING id"
)
FINISH = "UPDATE bench_task SET state = 'done', finished_at = {now} WHERE id = {value}"


def main(*, tasks: int) -> dict[str, float]:
    """Tasks per second, from the first claim to the last finish."""
    url = os.environ["DATABASE_URL"]
    connection: Any
    if url.startswith("postgres"):
        connection = psycopg.connect(url, autocommit=True)
        dialect = {"now": "now()::text", "skip": "FOR UPDATE SKIP LOCKED", "value": "%s"}
    else:
        connection = sqlite3.connect(urlsplit(url).path[1:], timeout=60, isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        dialect = {"now": "CURRENT_TIMESTAMP", "skip": "", "value": "?"}
    cursor = connection.cursor()
    cursor.execute("DROP TABLE IF EXISTS bench_task")
    cursor.execute(CREATE)
    cursor.execute(INDEX)
    cursor.execute("BEGIN")
    insert = f"INSERT INTO bench_task (id, state) VALUES ({dialect['value']}, 'ready')"
    cursor.executemany(insert, [(number,) for number in range(tasks)])
    cursor.execute("COMMIT")
    claim, finish = CLAIM.format(**dialect), FINISH.format(**dialect)
    started = time.perf_counter()
    for _ in range(tasks):
        (claimed,) = cursor.execute(claim).fetchone()
        cursor.execute(finish, (claimed,))
    return {"per_second": tasks / (time.perf_counter() - started)}


if __name__ == "__main__":
    print(json.dumps(main(**json.load(sys.stdin))))

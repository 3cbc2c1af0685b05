"""The reference point of an event that is looked up: `python -m bench.reference_lookups` prints events per second.

For each: one GET by a session that keeps its connection, and one committed UPDATE.
"""

import json
import sys
import time

import django

django.setup()

import requests  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db import connection  # noqa: E402

from bench.reference_queue import CREATE  # noqa: E402


def main(*, events: int) -> dict[str, float]:
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = "Bearer benchmark"
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench_task")
        cursor.execute(CREATE)
        cursor.executemany("INSERT INTO bench_task (id, state) VALUES (%s, 'ready')", [(n,) for n in range(events)])
        started = time.perf_counter()
        for number in range(events):
            session.get(f"{settings.SNAPINSPECT_API_URL}rows/{number}", timeout=15).json()
            cursor.execute("UPDATE bench_task SET state = 'done', finished_at = 'now' WHERE id = %s", [number])
    return {"per_second": events / (time.perf_counter() - started)}


if __name__ == "__main__":
    print(json.dumps(main(**json.load(sys.stdin))))

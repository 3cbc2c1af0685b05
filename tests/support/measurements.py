"""What a test has measured: printed, and under `make soak` kept for the table in docs/reliability.md."""

import json
import os
from pathlib import Path

from django.db import connection


def record(row: str, injected: str, observed: str, *, database: str = "") -> None:
    """`row` of the score card; `injected` in words that are the same on every database and whatever the size.

    `database`: what was measured on, where that is not what this run is about.
    """
    print(f"{row}: {injected}: {observed}")
    if os.environ.get("FIGURES"):
        figure = {"row": row, "injected": injected, "observed": observed, "database": database or connection.vendor}
        with Path(os.environ["FIGURES"]).open("a") as kept:
            kept.write(json.dumps(figure) + "\n")

"""Calls of SnapInspect's API from one thread, in turn: a bare session, and the product on a customer's behalf.

`python -m bench.calls`, as a process of its own with the settings of what is measured.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import django

django.setup()

import requests  # noqa: E402
from django.conf import settings  # noqa: E402

from bench.rounds import quantiles  # noqa: E402
from integrations.calls import api_client  # noqa: E402
from integrations.models import Connection  # noqa: E402
from integrations.snapinspect import transport  # noqa: E402


def timed(call: Callable[[], object], seconds: float) -> dict[str, float]:
    times = []
    used = time.process_time()
    began = time.perf_counter()
    before = began
    while before - began < seconds:
        call()
        now = time.perf_counter()
        times.append(now - before)
        before = now
    return {**quantiles(times, before - began), "processor_us": 1e6 * (time.process_time() - used) / len(times)}


def bare_session(ca_file: str) -> Callable[[], object]:
    """`requests.Session` with a header that is written into the program; no row is read, nothing is unsealed."""
    session = requests.Session()
    session.headers["Authorization"] = "Bearer access-6847-" + "a" * 50
    session.verify = ca_file or True
    url = f"{settings.SNAPINSPECT_API_URL}user"
    return lambda: session.get(url, timeout=15).json()


def main(*, code: str, rounds: int, seconds: float, ca_file: str = "") -> dict[str, list[dict[str, float]]]:
    if ca_file:
        # What `transport.shared()` would make, with a certificate that was made for this run in place of certifi's.
        transport._shared[os.getpid()] = transport.Transport(ca_file=ca_file)
    connection = Connection.objects.get(code=code)
    ways: dict[str, Callable[[], object]] = {
        "theirs": bare_session(ca_file),
        "ours": lambda: api_client.get(connection, "user"),
    }
    for way in ways.values():
        timed(way, 0.1)
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in sorted(ways, reverse=bool(number % 2)):
            seen[name].append(timed(ways[name], seconds))
    return seen


if __name__ == "__main__":
    job: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(main(**job)))

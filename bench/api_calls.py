"""Calls of SnapInspect's API from one thread: a plain `requests.Session` and the product, in turn.

`python -m bench.api_calls`, in the environment of the deployment that is measured.
"""

import json
import os
import sys
import time
from collections.abc import Callable

import django

django.setup()

import requests  # noqa: E402
from django.conf import settings  # noqa: E402

from bench.rounds import Sample, Samples, alternate, throughput  # noqa: E402
from integrations.calls import api_client  # noqa: E402
from integrations.models import Connection  # noqa: E402
from integrations.snapinspect import transport  # noqa: E402


def timed(call: Callable[[], object], seconds: float) -> Sample:
    """Calls again and again for so long."""
    durations = []
    processor_seconds = time.process_time()
    started = before = time.perf_counter()
    while before - started < seconds:
        call()
        now = time.perf_counter()
        durations.append(now - before)
        before = now
    processor_seconds = time.process_time() - processor_seconds
    return {**throughput(durations, before - started), "processor_us": 1e6 * processor_seconds / len(durations)}


def plain_session(ca_file: str) -> Callable[[], object]:
    """A call with a constant header; nothing is read from the database or decrypted."""
    session = requests.Session()
    session.headers["Authorization"] = "Bearer access-6847-" + "a" * 50
    session.verify = ca_file or True
    url = f"{settings.SNAPINSPECT_API_URL}user"
    return lambda: session.get(url, timeout=15).json()


def main(*, code: str, rounds: int, seconds: float, ca_file: str = "") -> Samples:
    if ca_file:
        # As `transport.shared()` makes it, with the certificate authority of this run instead of certifi's.
        transport._shared[os.getpid()] = transport.Transport(ca_file=ca_file)
    connection = Connection.objects.get(code=code)
    reference = plain_session(ca_file)

    def product() -> object:
        return api_client.get(connection, "user")

    for call in (reference, product):
        timed(call, 0.1)
    return alternate(rounds, lambda: timed(reference, seconds), lambda: timed(product, seconds))


if __name__ == "__main__":
    print(json.dumps(main(**json.load(sys.stdin))))

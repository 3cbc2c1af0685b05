"""Token renewal and key rotation under load; there is no reference point.

`python -m bench.tokens`, in the environment of the deployment that is measured.
"""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import django

django.setup()

import requests  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db import connection as database  # noqa: E402
from django.db.models.functions import Now  # noqa: E402

from accounts.models import Customer  # noqa: E402
from bench.seeding.tokens import pair_in_use  # noqa: E402
from integrations.calls import api_client  # noqa: E402
from integrations.models import Connection, State, TokenPair  # noqa: E402
from integrations.tokens import key_rotation  # noqa: E402


def control(path: str, body: Any) -> Any:
    """A request to the control API of the stand-in."""
    url = urlsplit(settings.SNAPINSPECT_EXCHANGE_URL)
    answer = requests.post(f"{url.scheme}://{url.netloc}/control/{path}", json=body, timeout=30)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def renewal(*, callers: int, rounds: int) -> dict[str, list[float]]:
    """Seconds until each of these threads has its answer, with a valid token and with one that was just revoked."""
    customer = Customer.objects.create(name="Renewal")
    connection = Connection.objects.create(customer=customer, company_id="9001", state=State.CONNECTED)
    granted = control("grant", {"account": "501"})
    pair_in_use(connection, granted["access_token"], granted["refresh_token"], proved_at=Now()).save()
    seconds: dict[str, list[float]] = {"valid": [], "revoked": []}
    for _ in range(rounds):
        seconds["valid"].append(_call_at_once(connection, callers))
        control("revoke_all", {"kind": "access"})
        seconds["revoked"].append(_call_at_once(connection, callers))
    return seconds


def _call_at_once(connection: Connection, callers: int) -> float:
    ready = threading.Barrier(callers + 1, timeout=60)

    def call(_: int) -> float:
        try:
            database.ensure_connection()
            ready.wait()
            api_client.get(connection, "user")
            return time.perf_counter()
        finally:
            database.close()

    with ThreadPoolExecutor(callers) as pool:
        answered = pool.map(call, range(callers))
        ready.wait()
        started = time.perf_counter()
        return max(answered) - started


def rotation(*, pairs: int) -> dict[str, float]:
    """`reseal_tokens` for so many pairs, in pairs per second."""
    newest, older = settings.TOKEN_ENCRYPTION_KEYS
    settings.TOKEN_ENCRYPTION_KEYS = (older,)
    customer = Customer.objects.create(name="Rotation")
    connections = Connection.objects.bulk_create(
        Connection(customer=customer, state=State.CONNECTED, company_id=str(20_000 + number)) for number in range(pairs)
    )
    TokenPair.objects.bulk_create(pair_in_use(connection, "a" * 64, "r" * 64) for connection in connections)
    settings.TOKEN_ENCRYPTION_KEYS = (newest, older)
    started = time.perf_counter()
    report = key_rotation.reseal()
    return {"per_second": report.resealed / (time.perf_counter() - started)}


if __name__ == "__main__":
    job = json.load(sys.stdin)
    print(json.dumps(renewal(**job) if job.pop("benchmark") == "renewal" else rotation(**job)))

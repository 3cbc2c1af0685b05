"""What custody does under load: `python -m bench.custody` measures a herd at one 401, and resealing.

Has no reference point: both are told as they are.
"""

import json
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import django

django.setup()

import requests  # noqa: E402
from django.conf import settings  # noqa: E402
from django.db import connection as database  # noqa: E402
from django.db.models.functions import Now  # noqa: E402

from accounts.models import Customer  # noqa: E402
from integrations.calls import api_client  # noqa: E402
from integrations.models import Connection, State, TokenPair  # noqa: E402
from integrations.snapinspect import token_pair  # noqa: E402
from integrations.tokens import key_rotation, storage  # noqa: E402


def control(path: str, body: Any = None) -> Any:
    """A request to the control API of the stand-in."""
    where = urlsplit(settings.SNAPINSPECT_EXCHANGE_URL)
    answer = requests.post(f"{where.scheme}://{where.netloc}/control/{path}", json=body, timeout=30)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def herd(*, callers: int, rounds: int) -> dict[str, list[float]]:
    """Seconds until all of so many threads have their answer: while the token works, and when it has just died."""
    granted = control("grant", {"account": "501"})
    connection = Connection.objects.create(
        customer=Customer.objects.create(name="Herd"), company_id="9001", state=State.CONNECTED
    )
    given = token_pair.TokenPair(granted["access_token"], granted["refresh_token"])
    TokenPair.objects.create(
        connection=connection, role=TokenPair.Role.CURRENT, proved_at=Now(), **storage.columns(given, connection)
    )
    seen: dict[str, list[float]] = {"alive": [], "dead": []}
    for _ in range(rounds):
        seen["alive"].append(_all_call(connection, callers))
        control("revoke_all", {"kind": "access"})
        seen["dead"].append(_all_call(connection, callers))
    return seen


def _all_call(connection: Connection, callers: int) -> float:
    ready = threading.Barrier(callers + 1)
    answered = []

    def call() -> None:
        try:
            database.ensure_connection()
            ready.wait()
            api_client.get(connection, "user")
            answered.append(time.perf_counter())
        finally:
            database.close()

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if len(answered) != callers:
        raise RuntimeError(f"{callers - len(answered)} of {callers} callers were not answered.")
    return max(answered) - began


def reseal(*, pairs: int) -> dict[str, float]:
    """Pairs per second; they are sealed by the older key here, as if they had been before the newer one came."""
    newest, older = settings.TOKEN_ENCRYPTION_KEYS
    settings.TOKEN_ENCRYPTION_KEYS = (older,)
    customer = Customer.objects.create(name="Resealed")
    connections = Connection.objects.bulk_create(
        Connection(customer=customer, state=State.CONNECTED, company_id=str(20_000 + number)) for number in range(pairs)
    )
    plain = token_pair.TokenPair("a" * 64, "r" * 64)
    TokenPair.objects.bulk_create(
        TokenPair(connection=one, role=TokenPair.Role.CURRENT, **storage.columns(plain, one)) for one in connections
    )
    settings.TOKEN_ENCRYPTION_KEYS = (newest, older)
    began = time.perf_counter()
    report = key_rotation.reseal()
    return {"per_second": report.resealed / (time.perf_counter() - began), "rows": report.resealed}


if __name__ == "__main__":
    job = json.load(sys.stdin)
    print(json.dumps(herd(**job) if job.pop("what") == "herd" else reseal(**job)))

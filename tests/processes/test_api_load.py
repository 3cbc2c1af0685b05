"""Many calls of the API's proxy at once: who waits, for how long, and what the others notice of it."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from bench.load_generator import NUMBER, Run
from integrations.calls import limits
from tests.conftest import AppFactory
from tests.support.deliveries import NEW, payload
from tests.support.many_customers import MANY_CUSTOMERS, ManyCustomers, p95
from tests.support.measurements import record
from tests.support.running_app import RunningApp
from tests.support.sizes import size

pytestmark = [pytest.mark.slow, pytest.mark.processes]

OTHERS = 4
CALLERS, CALLS = 8, size(10, 100)
SLOW_SECONDS, SLOW_CALLERS = size(10, 15), 16
SECONDS = size(6, 30)


class Api:
    """The API of this app with keys of its own, for these connections."""

    def __init__(self, app: RunningApp) -> None:
        self.app = app
        words = [word for scope in ("proxy:read", "proxy:write") for word in ("--scope", scope)]
        self.keys = [
            app.manage("create_api_key", "--name", f"tests {number}", *words).split()[-1] for number in range(3)
        ]

    def request(self, method: str, code: str, path: str, body: str = "", *, key: int = 0) -> str:
        """As text, for the load generator."""
        lines = [
            f"{method} /api/v1/connections/{code}/proxy/{path} HTTP/1.1",
            f"Host: localhost:{self.app.port}",
            f"Authorization: Bearer {self.keys[key]}",
        ]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", body])

    def at_once(self, request: str, calls: int) -> dict[str, Any]:
        """The statuses and times of this request, sent so many times over as many connections."""
        return Run(port=self.app.port, request=request, connections=calls, seconds=0).run()


@pytest.fixture(scope="module")
def customers(app_factory: AppFactory) -> Iterator[ManyCustomers]:
    with app_factory(**MANY_CUSTOMERS, API_REQUESTS_A_MINUTE="1000000") as app:
        yield ManyCustomers(app, 1 + OTHERS)


@pytest.fixture(scope="module")
def api(customers: ManyCustomers) -> Api:
    return Api(customers.app)


@pytest.fixture(autouse=True)
def nothing_is_wrong(customers: ManyCustomers) -> Iterator[None]:
    yield
    customers.app.sandbox.clear_faults()


def codes(customers: ManyCustomers) -> list[str]:
    """Of the connections, the troubled one first."""
    found = dict(customers.app.rows("SELECT company_id, code FROM integrations_connection"))
    return [found[str(company)] for company in customers.companies]


def test_P4_calls_that_meet_one_401_are_all_answered_after_one_exchange(customers: ManyCustomers, api: Api) -> None:
    sandbox, code = customers.app.sandbox, codes(customers)[0]
    sandbox.control("DELETE", "log")
    sandbox.control("POST", "revoke_all", {"kind": "access"})
    body = json.dumps({"sTitle": f"No. {NUMBER}"})
    reads = api.request("GET", code, "user")
    writes = api.request("POST", code, "inspections", body, key=1)

    with ThreadPoolExecutor(CALLERS) as callers:
        jobs = [callers.submit(api.at_once, request, CALLS) for _ in range(CALLERS // 2) for request in (reads, writes)]
        answers = [job.result() for job in jobs]

    statuses = sum((answer["statuses"] for answer in answers), Counter[int]())
    seen = sandbox.calls("/inspections")
    made = [call for call in seen if call["method"] == "POST" and call["status"] == 201]
    refused = [call for call in seen if call["status"] == 401]
    record(
        "P4",
        "8 callers meet one 401 with GET and POST",
        f"{CALLERS * CALLS} calls, {CALLS} of each caller at once: {dict(statuses)}, {sandbox.exchanges()} exchange,"
        f" {len(made)} of {CALLERS * CALLS // 2} POSTs took effect, {len(refused)} were refused before;"
        f" the longest call {max(answer['p99'] for answer in answers) / 1000:.1f} s",
    )
    assert statuses == {200: CALLERS * CALLS // 2, 201: CALLERS * CALLS // 2}
    assert sandbox.exchanges() == 1
    assert len(made) == CALLERS * CALLS // 2
    assert len(refused) <= 2 * limits.MAX_CALLS_PER_CONNECTION, "those that were under way"


def test_P5_an_account_that_answers_slowly_costs_others_nothing(customers: ManyCustomers, api: Api) -> None:
    slow, *others = codes(customers)
    sandbox = customers.app.sandbox
    requests_of_others = [api.request("GET", code, "user", key=2) for code in others]

    def calls_of_others() -> list[float]:
        with ThreadPoolExecutor(len(others)) as callers:
            runs = [callers.submit(timed, request) for request in requests_of_others]
            return sorted(seconds for run in runs for seconds in run.result())

    def timed(request: str) -> list[float]:
        run = Run(port=customers.app.port, request=request, connections=1, seconds=SECONDS)
        assert set(run.run()["statuses"]) == {200}
        return run.durations

    calls_of_others()
    quiet = p95(calls_of_others())
    sandbox.fault("/user", times=None, delay=SLOW_SECONDS, company=customers.companies[0])
    over, answers = threading.Event(), Counter[str]()

    def keep_calling() -> None:
        while not over.is_set():
            answer = requests.get(
                f"{customers.app.url}api/v1/connections/{slow}/proxy/user",
                headers={"Authorization": f"Bearer {api.keys[0]}"},
                timeout=120,
            )
            answers[f"{answer.status_code} {answer.headers.get('Connect-Error', '')}".strip()] += 1
            assert answer.status_code == 200 or answer.headers["Retry-After"]

    with ThreadPoolExecutor(SLOW_CALLERS + 1) as callers:
        jobs = [callers.submit(keep_calling) for _ in range(SLOW_CALLERS)]
        time.sleep(2)
        deliveries = callers.submit(delivered, customers.app)
        busy = p95(calls_of_others())
        acknowledged = deliveries.result()
        over.set()
        for job in jobs:
            job.result()
    record(
        "P5",
        "16 callers of an account that answers slowly",
        f"it answers in {SLOW_SECONDS} s; others' calls p95 {1000 * busy:.1f} ms, {busy / quiet:.2f} x of"
        f" {1000 * quiet:.1f} ms without; webhooks acknowledged in p95 {1000 * p95(acknowledged):.0f} ms, the slowest"
        f" {1000 * max(acknowledged):.0f} ms; the slow account's calls: {dict(answers)}",
    )
    assert set(answers) <= {"200", "503 busy"}
    assert size(p95(acknowledged), max(acknowledged)) < 5
    # 1.5 times, or what a shared machine adds to a few milliseconds; in short, half of what a slow call takes.
    assert busy <= size(SLOW_SECONDS / 2, max(1.5 * quiet, quiet + 0.02))


def delivered(app: RunningApp) -> list[float]:
    """Posts ten deliveries a second. Returns how long each took until it was acknowledged, sorted."""
    seconds = []
    for number in range(10 * SECONDS):
        begun = time.monotonic()
        answer = requests.post(f"{app.url}webhooks/snapinspect/{NEW}/", json=payload(f"Api_{number}"), timeout=60)
        assert answer.status_code == 200
        seconds.append(time.monotonic() - begun)
        time.sleep(max(0.0, 0.1 - seconds[-1]))
    return sorted(seconds)

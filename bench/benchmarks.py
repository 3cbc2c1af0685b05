"""The benchmarks of `make bench`: one function for each path, beside its reference point (see docs/performance.md)."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench.deployment import NEW_KEY, OLD_KEY, ROOT, WEBHOOK_SECRET, Deployment, Web, wait_for_port, wait_until
from bench.processes import processor_seconds
from bench.result import Result, Target, at_least, at_most
from bench.rounds import Sample, Samples, alternate, median_of, ratio
from tests.support.postgres import free_port

HEADERS = {"Host": "localhost", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
BODY = '{"sType":"Create_Inspection","iInspectionID":1000000000,"iCompanyID":7000,"sStatus":"Complete"}'
# About as long as a message with the answer about an inspection.
MESSAGE = json.dumps({"type": "inspection.created", "data": {"content": {"sTitle": "x" * 2000}}})
# For the raw INSERT of bench/reference_views.py.
REFERENCE_TABLE = {
    "PostgreSQL": "CREATE TABLE bench_inbox (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), body bytea)",
    "SQLite": "CREATE TABLE bench_inbox (id integer PRIMARY KEY, at text DEFAULT CURRENT_TIMESTAMP, body blob)",
}


@dataclass(frozen=True)
class Size:
    """Seconds of one measurement, rounds, and numbers of rows or callers."""

    seconds: float = 2.0
    rounds: int = 5
    deliveries: int = 12_000
    tasks: int = 3_000
    callers: int = 100
    pairs: int = 2_000

    def shortened(self, seconds: float) -> "Size":
        """Shows that everything runs; its figures say nothing."""
        return replace(self, seconds=seconds, rounds=1, deliveries=600, tasks=100, callers=10, pairs=50)


NOT_RUNNING = Web(0, 0)


@dataclass(frozen=True)
class System:
    """The system under test: a deployment, its database's name, what `bench.fill` printed, and what is running."""

    deployment: Deployment
    database: str
    filled: dict[str, str]
    size: Size
    product: Web = NOT_RUNNING
    reference: Web = NOT_RUNNING

    def load(self, web: Web, request: str, **options: Any) -> Sample:
        """One run of the load generator. Raises RuntimeError unless every answer was a 200."""
        job = {"port": web.port, "request": request, "seconds": self.size.seconds, "connections": 1, **options}
        used_before = processor_seconds(web.pid)
        finished = subprocess.run(
            [sys.executable, "-m", "bench.load_generator"],
            cwd=ROOT, input=json.dumps(job), capture_output=True, text=True, check=True,
        )  # fmt: skip
        sample: Sample = json.loads(finished.stdout)
        if set(sample["statuses"]) != {"200"}:
            raise RuntimeError(f"Not every request was answered with 200: {sample['statuses']}")
        used = processor_seconds(web.pid) - used_before
        sample["processor_us"] = 1e6 * used / sample["statuses"]["200"]
        return sample

    def compare(self, reference: str, product: str, **options: Any) -> Samples:
        """Sends one request to the reference views and the other to the product, in turn, after a warm-up."""
        for web, request in ((self.reference, reference), (self.product, product)):
            self.load(web, request, **options | {"seconds": self.size.seconds / 4})
        return alternate(
            self.size.rounds,
            lambda: self.load(self.reference, reference, **options),
            lambda: self.load(self.product, product, **options),
        )


def request(method: str, path: str, headers: dict[str, str], body: str = "") -> str:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (HEADERS | headers).items())]
    return "\r\n".join([*lines, "", body])


def post(path: str) -> str:
    return request("POST", path, {"Content-Type": "application/json", "Content-Length": str(len(BODY))}, BODY)


def get(path: str, cookie: str) -> str:
    return request("GET", path, {"Cookie": cookie})


def get_with_key(path: str, key: str) -> str:
    return request("GET", path, {"Authorization": f"Bearer {key}"})


def as_text(samples: list[Sample]) -> str:
    percentiles = " / ".join(f"{median_of(samples, name):.3g}" for name in ("p50", "p95", "p99"))
    return f"{median_of(samples, 'per_second'):,.0f}/s · {percentiles} ms"


def compared(path: str, samples: Samples, targets: list[Target]) -> Result:
    reference, product = samples["reference"], samples["product"]
    figures = {
        "ratio": ratio(samples),
        "p99 ms": median_of(product, "p99"),
        "p99 ratio": ratio(samples, "p99"),
    }
    if median_of(product, "processor_us"):
        figures["processor ratio"] = median_of(reference, "processor_us") / median_of(product, "processor_us")
    return Result(path, as_text(reference), as_text(product), figures, targets)


def webhook(system: System, connections: int, targets: list[Target]) -> Result:
    """A delivery is stored and acknowledged. No worker runs: it would use the processor on one side only."""
    samples = system.compare(
        post("/insert/"), post(f"/webhooks/snapinspect/{WEBHOOK_SECRET}/"), connections=connections
    )
    name = f"{connections} connection{'s' if connections > 1 else ''}"
    return compared(f"A webhook, {name}, {system.database}", samples, targets)


def dashboard(system: System) -> Result:
    code, cookie = system.filled["customer"], system.filled["cookie"]
    samples = system.compare(get(f"/page/{code}/", cookie), get(f"/c/{code}/", cookie))
    return compared(f"C dashboard, 1 connection, {system.database}", samples, [at_least("ratio", 0.25)])


def proxy(system: System, connections: int) -> Result:
    """Row P9 of the score card: what the proxy adds to a view that forwards."""
    code, key = system.filled["connection"], system.filled["key"]
    product = get_with_key(f"/api/v1/connections/{code}/proxy/user", key)
    samples = system.compare(get_with_key("/forward/user", key), product, connections=connections)
    targets = [at_least("ratio", 0.70)]
    name = f"{connections} caller{'s' if connections > 1 else ''}"
    result = compared(f"The API's proxy, GET, {name}, {system.database}", samples, targets)
    result.figures["added p50 ms"] = median(
        product["p50"] - reference["p50"]
        for product, reference in zip(samples["product"], samples["reference"], strict=True)
    )
    if connections == 1:
        targets.append(at_most("added p50 ms", 1.5))
    return result


def event_list(system: System) -> Result:
    key = system.filled["key"]
    samples = system.compare(get_with_key("/events/", key), get_with_key("/api/v1/events?limit=100", key))
    return compared(f"The API's list of 100 events, {system.database}", samples, [at_least("ratio", 0.30)])


def api_call(system: System, name: str, target: float, **job: Any) -> Result:
    code, size = system.filled["connection"], system.size
    samples = system.deployment.run("bench.api_calls", code=code, rounds=size.rounds, seconds=size.seconds / 3, **job)
    return compared(f"B API call, {name}, {system.database}", samples, [at_least("ratio", target)])


def drain(system: System) -> Result:
    """Deliveries are routed and their events finished by one worker with one thread; no inspection is looked up."""
    deployment = system.deployment

    def reference() -> Sample:
        return dict(deployment.run("bench.reference_queue", tasks=system.size.tasks))

    def product() -> Sample:
        return _worked_off(deployment, system.size.deliveries)

    samples = alternate(max(system.size.rounds - 2, 1), reference, product)
    by_hand, by_worker = (f"{median_of(samples[name], 'per_second'):,.0f}/s" for name in ("reference", "product"))
    targets = [at_least("ratio", 3)] if deployment.is_on_postgresql else []
    return Result(
        f"D inbox drained by 1 worker, {system.database}", by_hand, by_worker, {"ratio": ratio(samples)}, targets
    )


def looked_up(system: System) -> Result:
    """Deliveries are routed, and each event is looked up and finished, by one worker with one thread."""
    events = system.size.deliveries // 4
    deployment = system.deployment.with_settings(SNAPINSPECT_INSPECTION_PATH="rows/{inspection_id}")
    samples = alternate(
        max(system.size.rounds - 2, 1),
        lambda: dict(deployment.run("bench.reference_lookups", events=events)),
        lambda: _worked_off(deployment, events),
    )
    by_hand, by_worker = (f"{median_of(samples[name], 'per_second'):,.0f}/s" for name in ("reference", "product"))
    figures = {"ratio": ratio(samples), "app ms": median_of(samples["product"], "processor_ms")}
    return Result(
        f"E event looked up and done by 1 worker, {system.database}",
        by_hand,
        f"{by_worker} · {figures['app ms']:.1f} ms of processor time each",
        figures,
        [at_least("ratio", 0.40), at_most("app ms", 4)] if deployment.is_on_postgresql else [],
    )


def _worked_off(deployment: Deployment, events: int) -> Sample:
    """So many deliveries, each about an inspection of its own, and one worker with one thread."""
    for table in ("attempt", "eventdelivery", "event", "delivery"):
        deployment.sql(f"DELETE FROM integrations_{table}")
    rows = ((BODY.replace("1000000000", str(n)).replace("7000", str(7000 + n % 5)).encode(),)
            for n in range(2_000_000, 2_000_000 + events))  # fmt: skip
    deployment.sql("INSERT INTO integrations_delivery (body) VALUES (?)", rows)
    with deployment.process("worker", ["manage.py", "worker", "--threads", "1"]) as worker:
        finished = _moments(deployment, "integrations_event", "done", "finished_at", events)
        used = processor_seconds(worker.pid)
    return {"per_second": _rate(finished), "processor_ms": 1000 * used / events}


def _moments(deployment: Deployment, table: str, state: str, column: str, rows: int) -> list[float]:
    """When each row came into this state, in seconds, once so many are. Raises TimeoutError after five minutes."""
    seconds = (
        f"extract(epoch FROM {column})" if deployment.is_on_postgresql else f"(julianday({column}) - 2440587.5) * 86400"
    )
    done = f"SELECT count(*) FROM {table} WHERE state = '{state}'"
    wait_until(lambda: deployment.sql(done) == [(rows,)], 300, every=0.25)
    found = deployment.sql(f"SELECT {seconds} FROM {table} ORDER BY {column}, id")
    return [float(row[0]) for row in found]


def _rate(moments: list[float]) -> float:
    """How many a second, without the first and the last tenth: start and end of the worker."""
    tenth = len(moments) // 10
    seconds = moments[-tenth] - moments[tenth]
    return seconds and 0.8 * len(moments) / seconds


def events_out(system: System) -> Result:
    """Messages are signed and posted to one endpoint on loopback by one worker, and their outcome is written."""
    messages = system.size.deliveries // 4
    job = {"url": f"{system.deployment.api_url}endpoint", "body": MESSAGE, "messages": messages}
    samples = alternate(
        max(system.size.rounds - 2, 1),
        lambda: dict(system.deployment.run("bench.reference_webhooks", **job)),
        lambda: _sent(system.deployment, job),
    )
    by_hand, by_worker = (f"{median_of(samples[name], 'per_second'):,.0f}/s" for name in ("reference", "product"))
    figures = {"ratio": ratio(samples), "per second": median_of(samples["product"], "per_second")}
    targets = [at_least("ratio", 0.50), at_least("per second", 300)]
    return Result(f"F events out, 1 worker, {system.database}", by_hand, by_worker, figures, targets)


def _sent(deployment: Deployment, job: dict[str, Any]) -> Sample:
    deployment.run("bench.outgoing", **job)
    with deployment.process("worker", ["manage.py", "worker"]):
        delivered = _moments(deployment, "integrations_outgoingdelivery", "delivered", "delivered_at", job["messages"])
    return {"per_second": _rate(delivered)}


def hanging_api(system: System, seconds: float) -> Result:
    """Row W2 of the score card: 50 deliveries a second while every call of the API hangs."""
    deployment = system.deployment.with_settings(SNAPINSPECT_INSPECTION_PATH="hang/{inspection_id}")
    with deployment.web() as web, deployment.process("worker", ["manage.py", "worker"]):
        path = f"/webhooks/snapinspect/{WEBHOOK_SECRET}/"
        system.load(web, post(path), connections=4, seconds=1)
        sample = system.load(web, post(path), connections=16, seconds=seconds, rate=50)
    return Result(
        f"W2 acknowledged while the API hangs, 50/s, {system.database}",
        "", as_text([sample]), {"p99 ms": sample["p99"]}, [at_most("p99 ms", 500)],
    )  # fmt: skip


def panels(system: System) -> Result:
    """A dashboard with ten panels, loaded as a browser does; each panel calls the API for 200 ms, one by one 2 s."""
    deployment = system.deployment
    deployment.sql("UPDATE integrations_panel SET is_active = ?", [(True,)])
    headers = HEADERS | {"Cookie": system.filled["cookie"]}
    job = {"port": system.product.port, "path": f"/c/{system.filled['customer']}/", "headers": headers}
    samples = []
    for _ in range(system.size.rounds + 1):
        deployment.sql("DELETE FROM integrations_panelanswer")
        samples.append(deployment.run("bench.page_load", **job))
    deployment.sql("UPDATE integrations_panel SET is_active = ?", [(False,)])
    samples = samples[1:]  # the first was a warm-up
    page, last, requests, number = (median_of(samples, name) for name in ("page", "all", "requests", "panels"))
    text = f"page {page:.0f} ms, last of {number:.0f} panels after {last:.0f} ms, {requests:.0f} requests"
    return Result(f"Panels of 200 ms, {system.database}", "2,000 ms one by one", text, {"last panel ms": last},
                  [at_most("last panel ms", 2000)])  # fmt: skip


def explorer(system: System) -> Result:
    page = get(f"/c/{system.filled['customer']}/explorer/", system.filled["cookie"])
    samples = [system.load(system.product, page) for _ in range(2)]
    figures = {"p50 ms": median_of(samples, "p50")}
    return Result(f"Explorer page, 1 connection, {system.database}", "", as_text(samples), figures)


def token_renewal(system: System) -> Result:
    """Threads that call with a token that was just revoked: one exchange, and all of them are answered."""
    port = free_port()
    base = f"http://localhost:{port}/"
    exchange = {"SNAPINSPECT_EXCHANGE_URL": f"{base}integration/ExchangeToken", "SNAPINSPECT_API_URL": base}
    application = {
        "SANDBOX_CLIENT_ID": "benchmark", "SANDBOX_CLIENT_SECRET": "not-a-secret", "SANDBOX_APP_NAME": "Connect",
        "SANDBOX_REDIRECT_URI": "https://localhost/connect/callback/",
    }  # fmt: skip
    with system.deployment.process("sandbox", ["-m", "integrations.sandbox", "--port", str(port)], **application):
        wait_for_port(port)
        deployment = system.deployment.with_settings(**exchange)
        rounds = max(system.size.rounds - 2, 1)
        samples = deployment.run("bench.tokens", benchmark="renewal", callers=system.size.callers, rounds=rounds)
    valid, revoked = median(samples["valid"]), median(samples["revoked"])
    return Result(
        f"{system.size.callers} calls that meet one 401, {system.database}",
        f"valid token: {1000 * valid:.0f} ms until all are answered", f"{1000 * revoked:.0f} ms", {"seconds": revoked},
    )  # fmt: skip


def key_rotation(system: System) -> Result:
    deployment = system.deployment.with_settings(TOKEN_ENCRYPTION_KEYS=f"{NEW_KEY},{OLD_KEY}")
    per_second = deployment.run("bench.tokens", benchmark="rotation", pairs=system.size.pairs)["per_second"]
    return Result(
        f"`reseal_tokens`, {system.database}", "", f"{per_second:,.0f} pairs/s", {"pairs per second": per_second}
    )


def on_postgresql(
    system: System, servers: ExitStack, https_url: str, ca_file: str, add: Callable[[Result], None]
) -> None:
    """All benchmarks, in an order in which none is affected by the rows of another."""
    add(api_call(system, "plain", 0.80))
    over_tls = replace(system, deployment=system.deployment.with_settings(SNAPINSPECT_API_URL=https_url))
    add(api_call(over_tls, "TLS", 0.85, ca_file=ca_file))
    system = serving(system, servers)
    add(dashboard(system))
    add(explorer(system))
    add(proxy(system, 1))
    add(proxy(system, 8))
    add(event_list(system))
    add(panels(system))
    add(webhook(system, 1, [at_least("ratio", 0.70), at_most("p99 ms", 100)]))
    add(webhook(system, 8, [at_least("ratio", 0.65), at_most("p99 ratio", 1.5)]))
    add(drain(system))
    add(looked_up(system))
    add(events_out(system))
    add(token_renewal(system))
    add(key_rotation(system))
    add(hanging_api(system, seconds=system.size.seconds * 4))


def on_sqlite(system: System, servers: ExitStack, add: Callable[[Result], None]) -> None:
    add(api_call(system, "plain", 0.80))
    system = serving(system, servers)
    add(dashboard(system))
    add(webhook(system, 8, [at_least("ratio", 0.60), at_most("p99 ms", 60)]))
    add(drain(system))
    add(looked_up(system))
    add(events_out(system))


def serving(system: System, servers: ExitStack) -> System:
    """The same system with product and reference views running, each behind a gunicorn of its own."""
    deployment = system.deployment
    deployment.sql(REFERENCE_TABLE[system.database])
    reference = servers.enter_context(
        deployment.web(
            "bench.reference_views",
            config="bench/reference_gunicorn.py",
            DJANGO_SETTINGS_MODULE="bench.reference_settings",
        )
    )
    return replace(system, product=servers.enter_context(deployment.web()), reference=reference)

"""What is measured, path by path, each beside its reference point; docs/performance.md says what the paths are."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench.deployment import NEW_KEY, OLD_KEY, ROOT, WEBHOOK_SECRET, Deployment, Web, answering
from bench.result import Line, Target, least, most
from bench.rounds import Sample, in_turn, middle, ratio
from tests.support.postgres import free_port

HERE = "Host: localhost\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.7\r\n"
BODY = '{"sType":"Create_Inspection","iInspectionID":1000000000,"iCompanyID":7000,"sStatus":"Complete"}'
SEPARATOR = " · "
# What the raw INSERT of bench/reference.py goes into.
TABLE = {
    "PostgreSQL": "CREATE TABLE bench_inbox (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), body bytea)",
    "SQLite": "CREATE TABLE bench_inbox (id integer PRIMARY KEY, at text DEFAULT CURRENT_TIMESTAMP, body blob)",
}


@dataclass(frozen=True)
class Size:
    """How long all of it takes: seconds of one turn, how many turns, and rows."""

    seconds: float = 2.0
    rounds: int = 5
    deliveries: int = 12_000
    tasks: int = 3_000
    callers: int = 100
    pairs: int = 2_000

    def shortened(self, seconds: float) -> "Size":
        """For trying out whether everything runs: figures of it say nothing."""
        return replace(self, seconds=seconds, rounds=1, deliveries=600, tasks=100, callers=10, pairs=50)


NOBODY = Web(0, 0)


@dataclass(frozen=True)
class Stand:
    """Where it is measured: a deployment with rows in it, the words for its database, and what is running."""

    deployment: Deployment
    database: str
    filled: dict[str, str]
    size: Size
    product: Web = NOBODY
    reference: Web = NOBODY

    def load(self, web: Web, request: str, **options: Any) -> Sample:
        """What the load generator has seen; whatever was not answered with 200 fails the run."""
        job = {"port": web.port, "request": request, "seconds": self.size.seconds, "connections": 1, **options}
        used = web.processor_seconds()
        finished = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            cwd=ROOT, input=json.dumps(job), capture_output=True, text=True, check=True,
        )  # fmt: skip
        seen: Sample = json.loads(finished.stdout)
        if set(seen["statuses"]) != {"200"}:
            raise RuntimeError(f"Not every request was answered with 200: {seen['statuses']}")
        seen["processor_us"] = 1e6 * (web.processor_seconds() - used) / seen["statuses"]["200"]
        return seen

    def compare(self, theirs: str, ours: str, **options: Any) -> dict[str, list[Sample]]:
        self.load(self.reference, theirs, **options | {"seconds": self.size.seconds / 4})
        self.load(self.product, ours, **options | {"seconds": self.size.seconds / 4})
        return in_turn(
            self.size.rounds,
            lambda: self.load(self.reference, theirs, **options),
            lambda: self.load(self.product, ours, **options),
        )


def post(path: str) -> str:
    head = f"POST {path} HTTP/1.1\r\n{HERE}Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    return head + BODY


def get(path: str, cookie: str) -> str:
    return f"GET {path} HTTP/1.1\r\n{HERE}Cookie: {cookie}\r\n\r\n"


def words(samples: list[Sample]) -> str:
    shares = " / ".join(f"{middle(samples, share):.3g}" for share in ("p50", "p95", "p99"))
    return f"{middle(samples, 'per_second'):,.0f}/s{SEPARATOR}{shares} ms"


def beside(path: str, seen: dict[str, list[Sample]], targets: list[Target]) -> Line:
    figures = {
        "ratio": ratio(seen),
        "p99 ms": middle(seen["ours"], "p99"),
        "p99 by the reference's": ratio(seen, "p99"),
    }
    if middle(seen["ours"], "processor_us"):
        figures["processor"] = middle(seen["theirs"], "processor_us") / middle(seen["ours"], "processor_us")
    return Line(path, words(seen["theirs"]), words(seen["ours"]), figures, targets)


def webhook(stand: Stand, connections: int, targets: list[Target]) -> Line:
    """A delivery stored and acknowledged. No worker runs: it would take the processors from one side only."""
    seen = stand.compare(post("/insert/"), post(f"/webhooks/snapinspect/{WEBHOOK_SECRET}/"), connections=connections)
    name = f"{connections} connection{'s' if connections > 1 else ''}"
    return beside(f"A webhook, {name}, {stand.database}", seen, targets)


def dashboard(stand: Stand) -> Line:
    code, cookie = stand.filled["customer"], stand.filled["cookie"]
    seen = stand.compare(get(f"/page/{code}/", cookie), get(f"/c/{code}/", cookie))
    return beside(f"C dashboard, 1 connection, {stand.database}", seen, [least("ratio", 0.50)])


def api_call(stand: Stand, name: str, target: float, **job: Any) -> Line:
    seen = stand.deployment.run(
        "bench.calls", code=stand.filled["connection"], rounds=stand.size.rounds, seconds=stand.size.seconds / 3, **job
    )
    return beside(f"B API call, {name}, {stand.database}", seen, [least("ratio", target)])


def drain(stand: Stand) -> Line:
    """Deliveries placed and their events finished by one worker with one thread; no inspection is looked up."""
    at = stand.deployment

    def by_hand() -> Sample:
        return dict(at.run("bench.row_by_row", tasks=stand.size.tasks))

    def ours() -> Sample:
        for table in ("attempt", "eventdelivery", "event", "delivery"):
            at.sql(f"DELETE FROM integrations_{table}")
        rows = ((BODY.replace("1000000000", str(n)).replace("7000", str(7000 + n % 5)).encode(),)
                for n in range(2_000_000, 2_000_000 + stand.size.deliveries))  # fmt: skip
        at.sql("INSERT INTO integrations_delivery (body) VALUES (?)", rows)
        with at.process("worker", ["manage.py", "worker", "--threads", "1"]):
            ends = _ends(at, stand.size.deliveries)
        tenth = len(ends) // 10
        return {"per_second": (ends[-tenth] - ends[tenth]) and 0.8 * len(ends) / (ends[-tenth] - ends[tenth])}

    seen = in_turn(max(stand.size.rounds - 2, 1), by_hand, ours)
    figures = {"ratio": ratio(seen)}
    told = {name: f"{middle(samples, 'per_second'):,.0f}/s" for name, samples in seen.items()}
    targets = [least("ratio", 5)] if at.is_on_postgresql else []
    return Line(f"D inbox drained by 1 worker, {stand.database}", told["theirs"], told["ours"], figures, targets)


def _ends(at: Deployment, events: int) -> list[float]:
    """The moments at which the events were finished, once all of them are."""
    seconds = (
        "extract(epoch FROM finished_at)" if at.is_on_postgresql else "(julianday(finished_at) - 2440587.5) * 86400"
    )
    give_up_at = time.monotonic() + 300
    while True:
        time.sleep(0.25)
        if at.sql("SELECT count(*) FROM integrations_event WHERE state = 'done'") == [(events,)]:
            rows = at.sql(f"SELECT {seconds} FROM integrations_event ORDER BY finished_at, id")
            return [float(row[0]) for row in rows]
        if time.monotonic() > give_up_at:
            raise TimeoutError("The inbox was not drained.")


def hanging_api(stand: Stand, seconds: float) -> Line:
    """Row W2 of the score card: 50 deliveries a second while every call of the API hangs."""
    at = stand.deployment.with_settings(SNAPINSPECT_INSPECTION_PATH="hang/{inspection_id}")
    with at.web() as web, at.process("worker", ["manage.py", "worker"]):
        path = f"/webhooks/snapinspect/{WEBHOOK_SECRET}/"
        stand.load(web, post(path), connections=4, seconds=1)
        seen = stand.load(web, post(path), connections=16, seconds=seconds, rate=50)
    return Line(
        f"W2 acknowledged while the API hangs, 50/s, {stand.database}",
        "", words([seen]), {"p99 ms": seen["p99"]}, [most("p99 ms", 500)],
    )  # fmt: skip


def panels(stand: Stand) -> Line:
    """A dashboard with ten panels, whose calls take 200 ms each, loaded as a browser does. In a row that is 2 s."""
    at = stand.deployment
    headers = {"Host": "localhost", "Cookie": stand.filled["cookie"], "X-Forwarded-Proto": "https",
               "X-Forwarded-For": "203.0.113.7"}  # fmt: skip
    at.sql("UPDATE integrations_panel SET is_active = ?", [(True,)])
    job = {"port": stand.product.port, "path": f"/c/{stand.filled['customer']}/", "headers": headers}
    seen = []
    for _ in range(stand.size.rounds + 1):
        at.sql("DELETE FROM integrations_panelanswer")
        seen.append(at.run("bench.browser", **job))
    at.sql("UPDATE integrations_panel SET is_active = ?", [(False,)])
    seen = seen[1:] or seen
    page, last, requests = (median(one[name] for one in seen) for name in ("page", "all", "requests"))
    told = f"page {page:.0f} ms, last of {seen[0]['panels']:.0f} panels after {last:.0f} ms, {requests:.0f} requests"
    return Line(f"Panels of 200 ms, {stand.database}", "2,000 ms in a row", told, {"last panel ms": last},
                [most("last panel ms", 2000)])  # fmt: skip


def explorer(stand: Stand) -> Line:
    request = get(f"/c/{stand.filled['customer']}/explorer/", stand.filled["cookie"])
    seen = [stand.load(stand.product, request) for _ in range(2)]
    return Line(f"Explorer page, 1 connection, {stand.database}", "", words(seen), {"p50 ms": middle(seen, "p50")})


def herd(stand: Stand) -> Line:
    """A hundred threads that call with a token which has just died: one exchange, and all of them are answered."""
    port = free_port()
    base = f"http://localhost:{port}/"
    exchange = {"SNAPINSPECT_EXCHANGE_URL": f"{base}integration/ExchangeToken", "SNAPINSPECT_API_URL": base}
    application = {
        "SANDBOX_CLIENT_ID": "measured", "SANDBOX_CLIENT_SECRET": "not-a-secret", "SANDBOX_APP_NAME": "Connect",
        "SANDBOX_REDIRECT_URI": "https://localhost/connect/callback/",
    }  # fmt: skip
    with stand.deployment.process("sandbox", ["-m", "integrations.sandbox", "--port", str(port)], **application):
        answering(port)
        at = stand.deployment.with_settings(**exchange)
        seen = at.run("bench.custody", what="herd", callers=stand.size.callers, rounds=max(stand.size.rounds - 2, 1))
    alive, dead = median(seen["alive"]), median(seen["dead"])
    return Line(
        f"{stand.size.callers} calls that meet one 401, {stand.database}",
        f"token alive: {1000 * alive:.0f} ms until all are answered", f"{1000 * dead:.0f} ms", {"seconds": dead},
    )  # fmt: skip


def reseal(stand: Stand) -> Line:
    at = stand.deployment.with_settings(TOKEN_ENCRYPTION_KEYS=f"{NEW_KEY},{OLD_KEY}")
    seen = at.run("bench.custody", what="reseal", pairs=stand.size.pairs)
    told = f"{seen['per_second']:,.0f} pairs/s"
    return Line(f"`reseal_tokens`, {stand.database}", "", told, {"pairs per second": seen["per_second"]})


def on_postgresql(stand: Stand, opened: ExitStack, tls: tuple[str, str], tell: Callable[[Line], None]) -> None:
    """Everything, in an order in which no path finds what another has left behind."""
    secure, ca_file = tls
    tell(api_call(stand, "plain", 0.80))
    tell(
        api_call(
            replace(stand, deployment=stand.deployment.with_settings(SNAPINSPECT_API_URL=secure)),
            "TLS",
            0.85,
            ca_file=ca_file,
        )
    )
    stand = serving(stand, opened)
    tell(dashboard(stand))
    tell(explorer(stand))
    tell(panels(stand))
    tell(webhook(stand, 1, [least("ratio", 0.70), most("p99 ms", 100)]))
    tell(webhook(stand, 8, [least("ratio", 0.65), most("p99 by the reference's", 1.5)]))
    tell(drain(stand))
    tell(herd(stand))
    tell(reseal(stand))
    tell(hanging_api(stand, seconds=stand.size.seconds * 4))


def on_sqlite(stand: Stand, opened: ExitStack, tell: Callable[[Line], None]) -> None:
    tell(api_call(stand, "plain", 0.80))
    stand = serving(stand, opened)
    tell(dashboard(stand))
    tell(webhook(stand, 8, [least("ratio", 0.60), most("p99 ms", 60)]))
    tell(drain(stand))


def serving(stand: Stand, opened: ExitStack) -> Stand:
    """The same with the product and the reference views, each behind a gunicorn of its own."""
    at = stand.deployment
    at.sql(TABLE[stand.database])
    reference = opened.enter_context(
        at.web("bench.reference", config="bench/gunicorn.py", DJANGO_SETTINGS_MODULE="bench.settings")
    )
    return replace(stand, product=opened.enter_context(at.web()), reference=reference)

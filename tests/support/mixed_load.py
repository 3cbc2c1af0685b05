"""What happens in a busy deployment, all at once, and how much memory the processes take meanwhile."""

import itertools
import random
import re
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.support.clients import OTHER
from tests.support.http_visitor import Visitor
from tests.support.many_customers import ManyCustomers
from tests.support.webhook_load import Sender

MEGABYTE = 2**20


class MixedLoad:
    """People, SnapInspect and monitoring, each kind of action in a thread of its own.

    done: how often each action was done. failures: answers with another status than expected.
    """

    def __init__(self, customers: ManyCustomers) -> None:
        self.customers, self.app = customers, customers.app
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self._ended = threading.Event()
        self._numbers = itertools.count()
        self._sender = Sender(self.app)
        self._reader, self._owner = self._signed_up("Reading Homes"), self._signed_up("Other Homes")
        self._own = [customers.upload(7001) for _ in range(5)]
        found = re.search(r"/connections/(\w{12})/", self._owner.get(f"c/{self._owner.code}/connections/").text)
        assert found is not None
        self._connection = found[1]

    def run(self, seconds: float, *, at_least: int = 3) -> None:
        """Runs for so long, and until each action was done so often."""
        kinds: list[tuple[Callable[[], object], float]] = [
            (self.deliver, 0.1), (self.read, 0.5), (self.reconnect, 3), (self.exchange, 4), (self.ask, 1),
            (self.test, 5), (self.replay, 5), (self.download, 4), (self.monitor, 2),
        ]  # fmt: skip
        give_up_at = time.monotonic() + seconds + 120
        with ThreadPoolExecutor(len(kinds)) as pool:
            jobs = [pool.submit(self._again_and_again, act, pause) for act, pause in kinds]
            self._ended.wait(seconds)
            while any(self.done[act.__name__] < at_least for act, _ in kinds) and time.monotonic() < give_up_at:
                self._ended.wait(0.2)
            self._ended.set()
            for job in jobs:
                job.result()

    def deliver(self) -> None:
        number = next(self._numbers)
        company = random.choice(self.customers.companies)
        inspection = self.customers.upload(company) if number % 10 == 0 else self.customers.inspections[company]
        fields = {"iInspectionID": inspection, "iCompanyID": company}
        if number % 4 == 0:
            fields = {"iInspectionID": random.choice(self._own), "iCompanyID": 7001}
        self._sender.post(f"Mixed_{number}", **fields)

    def read(self) -> None:
        who, code = self._owner, self._owner.code
        connection = f"connections/{self._connection}/"
        pages = ["", "events/", "events/?state=done", "connections/", connection, f"{connection}activity/",
                 "connection-states/", f"{connection}panels/account/", "numbers.json", "audit/"]  # fmt: skip
        self._check(who.get(f"c/{code}/{random.choice(pages)}"))
        self._check(self._reader.get(f"c/{self._reader.code}/"))

    def reconnect(self) -> None:
        who = self._owner
        answer = who.post(f"c/{who.code}/connections/{self._connection}/reconnect/", allow_redirects=False)
        if self._check(answer, 302):
            answer = who.open_callback(self.app.sandbox.decide(answer.headers["Location"], account=OTHER))
            self._check(answer, 303)

    def exchange(self) -> None:
        self._press(f"connections/{self._connection}/replace-tokens/")

    def ask(self) -> None:
        self._press("explorer/", path="inspections", connection=self._connection)

    def test(self) -> None:
        self._press(f"connections/{self._connection}/test/")

    def replay(self) -> None:
        self._press("events/replay/?state=done")

    def download(self) -> None:
        self._check(self._owner.get(f"c/{self._owner.code}/events.csv"))

    def monitor(self) -> None:
        """Monitoring asks for the readiness, which counts what is due."""
        self._check(requests.get(f"{self.app.url}health/ready", timeout=60))

    def waiting(self) -> int:
        """Deliveries and events that are not finished."""
        counted = (
            "SELECT (SELECT count(*) FROM integrations_delivery WHERE state = 'received')"
            " + (SELECT count(*) FROM integrations_event WHERE state IN ('received', 'processing', 'retrying'))"
        )
        return int(self.app.rows(counted)[0][0])

    def errors(self) -> list[str]:
        """The lines of the logs that report errors."""
        lines = [line for name in ("web", "worker") for line in self.app.log(name).splitlines()]
        return [line for line in lines if any(word in line for word in (" ERROR ", " CRITICAL ", "Traceback"))]

    def _signed_up(self, company: str) -> Visitor:
        visitor = self.app.visitor().sign_up(company).connect(OTHER)
        visitor.http.hooks["response"] = []  # twenty minutes of pages are not kept for the secret scan
        # A kept connection may be closed at the moment of its next use, which no browser would take for an answer.
        visitor.http.headers["Connection"] = "close"
        return visitor

    def _press(self, where: str, /, **fields: str) -> None:
        self._check(self._owner.post(f"c/{self._owner.code}/{where}", fields))

    def _check(self, answer: requests.Response, wanted: int = 200) -> bool:
        self.done["requests"] += 1
        # 204: the states that a page follows are as they were.
        unchanged = answer.status_code == 204 and "/connection-states/" in answer.url
        if answer.status_code != wanted and not unchanged:
            self.failures.append(f"{answer.status_code} {answer.url.partition('?')[0]}")
        return answer.status_code == wanted

    def _again_and_again(self, act: Callable[[], object], pause: float) -> None:
        while not self._ended.is_set():
            try:
                act()
            except (requests.RequestException, AssertionError) as problem:
                self.failures.append(f"{act.__name__}: {type(problem).__name__}")
            self.done[act.__name__] += 1
            self._ended.wait(pause * random.uniform(0.5, 1.5))


class MemorySampler:
    """Measures the memory of processes, with all their children, once a second."""

    def __init__(self, **processes: subprocess.Popen[bytes]) -> None:
        self._processes = processes
        self.samples: dict[str, list[int]] = {name: [] for name in processes}
        self._ended = threading.Event()

    @contextmanager
    def sampling(self) -> Iterator[None]:
        with ThreadPoolExecutor(1) as pool:
            job = pool.submit(self._sample)
            try:
                yield
            finally:
                self._ended.set()
                job.result()

    def growth(self, name: str) -> tuple[float, float]:
        """The megabytes in the second quarter of the time, and how many more in the last (medians)."""
        samples = self.samples[name]
        quarter = max(1, len(samples) // 4)
        middle, last = (
            statistics.median(some) / MEGABYTE for some in (samples[quarter : 2 * quarter + 1], samples[-quarter:])
        )
        return middle, last - middle

    def _sample(self) -> None:
        while not self._ended.wait(1):
            for name, process in self._processes.items():
                self.samples[name].append(sum(map(resident, process_tree(process.pid))))


def process_tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(grandchild for child in children for grandchild in process_tree(int(child)))]


def resident(pid: int) -> int:
    """Bytes that a process holds in memory (`VmRSS`)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0

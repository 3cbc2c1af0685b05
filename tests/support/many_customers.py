"""Many customers who share one worker, and deliveries about them."""

import math
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from tests.support.fork_server import ForkServer
from tests.support.running_app import RunningApp
from tests.support.wait import wait_until
from tests.support.webhook_load import SETTINGS, Sender

# Nothing is killed here, so that a short lease would only be lost when the machine is busy.
MANY_CUSTOMERS = {"EVENT_HANDLERS": SETTINGS["EVENT_HANDLERS"], "LOG_LEVEL": "INFO"}
# With DEBUG, Django would keep the last 9,000 statements of every thread in memory.
AS_IN_PRODUCTION = {
    "DEBUG": "false",
    "ALLOW_INSECURE_LOOPBACK": "true",
    "ALLOWED_HOSTS": "localhost",
    "DEFAULT_FROM_EMAIL": "connect@example.com",
    "OPERATOR_EMAIL": "operator@example.com",
    "LOG_FORMAT": "text",
}
FINISHED = "SELECT type, received_at, finished_at FROM integrations_event WHERE state = 'done'"


class ManyCustomers:
    """A running app with many customers, each connected to its own company; one web process group, one worker."""

    def __init__(self, app: RunningApp, customers: int) -> None:
        self.app = app
        app.start_sandbox()
        self.web = app.start_web()
        self.worker = app.start_worker(**AS_IN_PRODUCTION)
        with ForkServer(app) as fork_server:
            self.companies: list[int] = fork_server.do("make_customers", number=customers)
        app.sandbox.control("POST", "webhooks/pause")
        self.inspections = {company: self.upload(company) for company in self.companies}

    def upload(self, company: int) -> int:
        made: dict[str, int] = self.app.sandbox.control("POST", "inspections", {"company": company})
        return made["iInspectionID"]

    def post(self, word: str, companies: Iterable[int], *, each: int, per_second: float) -> int:
        """Posts `each` deliveries about every company, evenly spread in time. Returns how many in all."""
        sender, about = Sender(self.app), [company for _ in range(each) for company in companies]
        with ThreadPoolExecutor(8) as pool:
            jobs = []
            for number, company in enumerate(about):
                fields = {"iInspectionID": self.inspections[company], "iCompanyID": company}
                jobs.append(pool.submit(sender.post, f"{word}_{number}", **fields))
                threading.Event().wait(1 / per_second)
            for job in jobs:
                job.result()
        return len(about)

    def delays(self, word: str, *, events: int, seconds: float = 120) -> list[float]:
        """Waits until so many events of this word are done. Returns their seconds from arrival to the end, sorted."""

        def found() -> list[float]:
            rows = [row for row in self.app.rows(FINISHED) if row[0].startswith(f"{word}_")]
            return sorted((moment(finished) - moment(received)).total_seconds() for _, received, finished in rows)

        wait_until(lambda: len(found()) >= events, seconds=seconds, every=0.5)
        return found()

    def size(self) -> int:
        """The bytes that the database occupies."""
        if self.app.is_on_postgresql:
            return int(self.app.rows("SELECT pg_database_size(current_database())")[0][0])
        pages, length = "SELECT page_count FROM pragma_page_count", "SELECT page_size FROM pragma_page_size"
        return int(self.app.rows(pages)[0][0]) * int(self.app.rows(length)[0][0])


class Flood:
    """Posts with the right secret at this rate until the end of the `with` block."""

    def __init__(self, customers: ManyCustomers, company: int, *, per_minute: int) -> None:
        self._customers, self._company, self._pause = customers, company, 60 / per_minute
        self.sent, self.seconds = 0, 0.0
        self._ended = threading.Event()

    def __enter__(self) -> "Flood":
        self._begun = time.monotonic()
        self._pool = ThreadPoolExecutor(5)
        self._job = self._pool.submit(self._post)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._job.result()
        self._pool.shutdown()
        self.seconds = time.monotonic() - self._begun

    @property
    def per_minute(self) -> float:
        return self.sent / self.seconds * 60

    def _post(self) -> None:
        """Alternates between an unknown company and guessed inspection IDs of a known one."""
        sender, waiting = Sender(self._customers.app), []
        while not self._ended.is_set():
            company = self._company if self.sent % 2 else 424242
            fields = {"iInspectionID": 9_000_000 + self.sent, "iCompanyID": company}
            waiting.append(self._pool.submit(sender.post, "Flood", **fields))
            self.sent += 1
            # Not faster than the rate, and with at most 50 requests unanswered.
            late = self._begun + self.sent * self._pause - time.monotonic()
            if late > 0:
                self._ended.wait(late)
            if len(waiting) > 50:
                waiting.pop(0).result()
        for job in waiting:
            job.result()


def moment(kept: Any) -> datetime:
    """The stored time; SQLite stores it as text."""
    return kept if isinstance(kept, datetime) else datetime.fromisoformat(kept)


def p95(ordered: list[float]) -> float:
    return ordered[math.ceil(len(ordered) * 0.95) - 1]

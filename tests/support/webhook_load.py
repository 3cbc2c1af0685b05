"""Webhooks under load: posts deliveries to a running app, kills its processes, and reads what was done.

Each test posts types that begin with a word of its own, so that tests can share an app.
"""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from tests.support.clients import COMPANY_OF_PAT
from tests.support.deliveries import NEW, payload
from tests.support.running_app import RunningApp
from tests.support.sizes import size
from tests.support.systemd_machine import TIMEOUT_STOP
from tests.support.wait import wait_until

# Seconds; the product's own under `make soak`. See tests.support.counting_handler.
LEASE_SECONDS = {} if size(0, 1) else {"LEASE_SECONDS": "6"}
# Printed by tests.support.counting_handler, which is not imported here: that would register its handler with the tests.
NO_SOCKET_HERE = "A socket is used inside a transaction."
SETTINGS = {"EVENT_HANDLERS": "tests.support.counting_handler", **LEASE_SECONDS}


class Sender:
    """SnapInspect's server: posts each message until it is acknowledged with exactly 200."""

    def __init__(self, app: RunningApp) -> None:
        self._app = app
        self.url = f"{app.url}webhooks/snapinspect/{NEW}/"
        self.acknowledged: set[str] = set()
        self.tries = 0
        self.statuses: list[int] = []
        self.failures: list[str] = []  # of tries, acknowledged later or not
        self.seconds: list[float] = []
        self._kept = threading.local()

    def post(self, type_: str, *, seconds: float = 120, **fields: int) -> None:
        body = payload(type_) | fields
        give_up_at = time.monotonic() + seconds
        while True:
            self.tries += 1
            begun = time.monotonic()
            try:
                answer = self._session().post(self.url, json=body, timeout=60, allow_redirects=False)
            except requests.RequestException as problem:
                answer = None
                self.failures.append(type(problem).__name__)
            if answer is not None:
                self.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    self.seconds.append(time.monotonic() - begun)
                    self.acknowledged.add(type_)
                    return
                self.failures.append(str(answer.status_code))
            assert time.monotonic() < give_up_at, "never acknowledged"
            time.sleep(0.1)

    def post_all(self, types: Iterable[str], *, threads: int = 6) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for job in [pool.submit(self.post, type_) for type_ in types]:
                job.result()

    @contextmanager
    def steadily(self, word: str, per_second: int) -> Iterator[None]:
        """Posts at this rate, whatever the answers; at the end waits until each is acknowledged."""
        ended = threading.Event()

        def keep_the_pace(pool: ThreadPoolExecutor) -> list[Future[None]]:
            jobs: list[Future[None]] = []
            begun = time.monotonic()
            while not ended.wait(max(0.0, begun + len(jobs) / per_second - time.monotonic())):
                jobs.append(pool.submit(self.post, f"{word}_{len(jobs)}"))
            return jobs

        with ThreadPoolExecutor(32) as pool, ThreadPoolExecutor(1) as pacer:
            pace = pacer.submit(keep_the_pace, pool)
            try:
                yield
            finally:
                ended.set()
            for job in pace.result():
                job.result()

    def _session(self) -> requests.Session:
        if not hasattr(self._kept, "session"):
            self._kept.session = self._app.session()
        session: requests.Session = self._kept.session
        return session


@dataclass(frozen=True)
class Found:
    """What the database holds about one test's types."""

    stored: set[str]
    states: Counter[str]
    effects: Counter[str]

    @property
    def done(self) -> int:
        return self.states["done"]

    @property
    def most_effects(self) -> int:
        return max(self.effects.values(), default=0)


class ConnectedApp:
    """A running app with a connection, `webs` web process groups (more than one need a proxy) and two workers."""

    def __init__(self, app: RunningApp, *, webs: int = 1) -> None:
        self.app = app
        self._sandbox = app.start_sandbox()
        self._webs = [app.start_web() for _ in range(webs)]
        self._workers = [app.start_worker(), app.start_worker()]
        self.visitor = app.visitor().sign_up().connect()

    def sender(self) -> Sender:
        return Sender(self.app)

    def kill_web(self) -> None:
        """The one that has run longest."""
        self.app.kill(self._webs.pop(0))

    def start_web(self) -> None:
        self._webs.append(self.app.start_web())

    @contextmanager
    def without_web(self) -> Iterator[None]:
        """Runs with one web process group fewer; starts another afterwards."""
        self.kill_web()
        yield
        self.start_web()

    def kill_worker(self) -> None:
        """The one that has run longest; another takes its place at once."""
        self.app.kill(self._workers.pop(0))
        self._workers.append(self.app.start_worker())

    def restart(self) -> None:
        """What systemd does for a new version: SIGTERM to the process that has run longest, and another in its place.

        First a web process group, then a worker. Fails when one does not end in good order within its TimeoutStopSec.
        """
        self._end(self._webs.pop(0))
        self._webs.append(self.app.start_web())
        self._end(self._workers.pop(0))
        self._workers.append(self.app.start_worker())

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        assert process.wait(TIMEOUT_STOP) == 0, process.args

    def kill_workers(self) -> int:
        """Kills all workers and starts others. Returns how many."""
        with self.without_workers():
            return len(self._workers)

    @contextmanager
    def without_workers(self) -> Iterator[None]:
        """Kills all workers; starts others afterwards."""
        for worker in self._workers:
            self.app.kill(worker)
        yield
        self._workers = [self.app.start_worker() for _ in self._workers]

    def missed(self, number: int) -> list[int]:
        """Uploads inspections while SnapInspect's webhooks pause. Returns their ids."""
        sandbox = self.app.sandbox
        sandbox.control("POST", "webhooks/pause")
        uploads = [sandbox.control("POST", "inspections", {"company": int(COMPANY_OF_PAT)}) for _ in range(number)]
        return [upload["iInspectionID"] for upload in uploads]

    def found(self, word: str) -> Found:
        def ours(sql: str) -> list[tuple[Any, ...]]:
            return [row for row in self.app.rows(sql) if row[0].startswith(f"{word}_")]

        types = [effect["type"] for effect in self._effects()]
        return Found(
            stored={row[0] for row in ours("SELECT type FROM integrations_delivery")},
            states=Counter(row[1] for row in ours("SELECT type, state FROM integrations_event")),
            effects=Counter(type_ for type_ in types if type_.startswith(f"{word}_")),
        )

    def effects_about(self, inspections: list[int]) -> Counter[str]:
        """How often the handler processed each of these inspections."""
        wanted = {str(inspection) for inspection in inspections}
        return Counter(effect["inspection"] for effect in self._effects() if effect["inspection"] in wanted)

    def _effects(self) -> list[dict[str, str]]:
        details = self.app.rows("SELECT detail FROM accounts_auditentry WHERE kind = 'test.effect'")
        return [json.loads(kept) if isinstance(kept, str) else kept for (kept,) in details]

    def wait_until_done(self, word: str, events: int, *, seconds: float = 150) -> Found:
        """Waits until so many events of this test are done. Returns what is stored then."""
        wait_until(lambda: self.found(word).done >= events, seconds=seconds, every=0.25)
        return self.found(word)

    def wait_until_idle(self) -> None:
        """Waits until every delivery is routed and every event finished, repetitions included."""
        waiting = (
            "SELECT (SELECT count(*) FROM integrations_delivery WHERE state = 'received')"
            " + (SELECT count(*) FROM integrations_event WHERE state IN ('received', 'processing', 'retrying'))"
        )
        wait_until(lambda: self.app.rows(waiting) == [(0,)], seconds=150, every=0.25)

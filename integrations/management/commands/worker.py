import logging
import os
import signal
import socket
import threading
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.utils.crypto import get_random_string
from django.utils.module_loading import import_string
from django_tasks_db.management.commands.db_worker import Worker

from integrations.background import jobs
from integrations.tokens import keys

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0
# The rows are the truth: a wake-up that is missed costs no more than this.
POLL_SECONDS = 0.5
WAIT_FOR_DATABASE = 2.0


class Command(BaseCommand):
    help = (
        "Runs the background work: threads that take tasks, and the periodic sweep. "
        "May run any number of times, on any number of machines."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--threads", type=int, default=3, help="tasks processed at a time (default: %(default)s)")

    def handle(self, *, threads: int, **options: Any) -> None:
        self.stopping = threading.Event()
        self.workers: list[Any] = []
        self.keys = keys.Watch()
        self.name = f"{socket.gethostname()[:40]}, process {os.getpid()}"
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._stop)
        serving = [threading.Thread(target=self._serve, name=f"tasks-{n}") for n in range(threads)]
        for thread in serving:
            thread.start()
        logger.info("Worker started: %s threads, a sweep every %s s.", threads, SWEEP_SECONDS)
        while not self.stopping.wait(SWEEP_SECONDS):
            self._sweep()
        for thread in serving:
            thread.join()
        logger.info("Worker stopped.")

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping.set()
        jobs.stop_requested.set()
        for worker in self.workers:
            worker.running = False

    def _serve(self) -> None:
        """Processes tasks until told to stop. django-tasks-db's worker ends with the database; this one retries."""
        while not self.stopping.is_set():
            worker = self._worker()
            self.workers.append(worker)
            if self.stopping.is_set():  # told to stop before it was appended
                worker.running = False
            try:
                worker.run()
            except (DatabaseError, InterfaceError) as problem:
                logger.warning("The database does not answer (%s); trying again.", type(problem).__name__)
                self.stopping.wait(WAIT_FOR_DATABASE)
            finally:
                self.workers.remove(worker)
                close_old_connections()

    @staticmethod
    def _worker() -> Any:
        """The worker of TASKS_ENGINE's queue; `run()` returns when `running` is false."""
        if settings.TASKS_ENGINE == "huey":
            return import_string("integrations.background.redis_queue.Worker")()
        return Worker(
            queue_names=["*"],
            excluded_queue_names=[],
            interval=POLL_SECONDS,
            batch=False,
            backend_name="default",
            startup_delay=False,
            max_tasks=None,
            worker_id=f"{socket.gethostname()[:40]}-{get_random_string(12)}",
        )

    def _sweep(self) -> None:
        try:
            close_old_connections()
            jobs.sweep(by=self.name)
            self.keys.look()
        except (DatabaseError, InterfaceError) as problem:
            logger.warning("The sweep could not reach the database (%s).", type(problem).__name__)
        except Exception:
            # Any exception: without the sweep, lost work is never found.
            logger.exception("The sweep failed; the next one is due in %s s.", SWEEP_SECONDS)

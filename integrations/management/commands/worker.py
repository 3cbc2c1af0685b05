import logging
import os
import signal
import socket
import threading
import time
from argparse import ArgumentParser, ArgumentTypeError
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError, close_old_connections

from integrations.background import jobs
from integrations.background.pool import LOOK_SECONDS, Pool
from integrations.outgoing import dispatcher
from integrations.tokens import keys

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0
MOST_THREADS = 64


def thread_count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise ArgumentTypeError(f"not a number from 1 to {MOST_THREADS}")
    return int(text)


class Command(BaseCommand):
    help = (
        "Runs everything that works in the background: threads that do what is due, and the periodic sweep. "
        "Start as many of it as you like, on as many machines."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--threads", type=thread_count, default=3, help="rows worked on at a time (default: %(default)s)"
        )

    def handle(self, *, threads: int, **options: Any) -> None:
        self.name = f"{socket.gethostname()[:40]}, process {os.getpid()}"
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._stop)
        pool, outgoing = Pool(threads, jobs.ORDER), Pool(1, jobs.OUTGOING)
        sweeping = threading.Thread(target=self._sweep_until_stopped, name="sweep")
        sweeping.start()
        logger.info("Worker started: %s threads, a sweep every %s s.", threads, SWEEP_SECONDS)
        pool.look()
        outgoing.look()
        # A worker whose threads have ended would still sweep, and count as alive: the process ends instead.
        while not jobs.stop_requested.is_set() and sweeping.is_alive() and not (pool.is_broken or outgoing.is_broken):
            # Not Event.wait(): a signal that comes while it takes the event's lock would wait for that for ever.
            time.sleep(LOOK_SECONDS)
            pool.look()
            outgoing.look()
        is_broken = not jobs.stop_requested.is_set()
        jobs.stop_requested.set()
        sweeping.join()
        outgoing.join()
        self._finish_sending()
        pool.join()
        if is_broken:
            raise CommandError("A thread of this worker ended by an error, see the log. Start the worker again.")
        logger.info("Worker stopped.")

    def _finish_sending(self) -> None:
        """So that the next worker repeats no webhook."""
        try:
            dispatcher.of_this_process().finish()
        except (DatabaseError, InterfaceError) as problem:
            logger.warning("What was sent could not be written (%s); it is sent again.", type(problem).__name__)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        jobs.stop_requested.set()

    def _sweep_until_stopped(self) -> None:
        watch = keys.Watch()
        while not jobs.stop_requested.wait(SWEEP_SECONDS):
            try:
                close_old_connections()
                jobs.sweep(by=self.name)
                watch.look()
            except (DatabaseError, InterfaceError) as problem:
                logger.warning("The sweep could not reach the database (%s).", type(problem).__name__)
            except Exception:
                # Whatever it is: without a sweep, lost work is never found again.
                logger.exception("The sweep failed; the next one is due in %s s.", SWEEP_SECONDS)

"""The threads of a worker. One that waits for SnapInspect for long does not count, and another one works beside it.

So an account that hangs, or answers slowly, takes SLOW_AFTER of a thread from the others for each call, and its calls
may take as long as calls may take. At most MOST_SLOW calls of a process are passed over like this.
"""

import logging
import threading
from collections.abc import Sequence

from django.db import DatabaseError, InterfaceError, close_old_connections, connections

from integrations.background import jobs
from integrations.background.agenda import Agenda
from integrations.background.due_rows import Job
from integrations.snapinspect import transport

logger = logging.getLogger(__name__)

MOST_SLOW = 8
# Seconds.
SLOW_AFTER = 2.0
LOOK_SECONDS = 0.25
WAIT_FOR_DATABASE = 2.0


class Pool:
    """Threads that do what is due, until `jobs.stop_requested`. threads: how many work at a time. order: the kinds.

    is_broken: a thread has ended by an error, so that the process has to end, too.
    """

    def __init__(self, threads: int, order: Sequence[Job]) -> None:
        self.is_broken = False
        self._size = threads
        self._agenda = Agenda(order)
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._named = 0

    def look(self) -> None:
        """Starts threads in place of those that wait for SnapInspect. To be called every LOOK_SECONDS."""
        with self._lock:
            while len(self._threads) - self._slow() < self._size:
                self._named += 1
                thread = threading.Thread(target=self._run, name=f"work-{self._named}")
                self._threads.add(thread)
                thread.start()

    def join(self) -> None:
        """Waits until every thread has ended."""
        for thread in list(self._threads):
            thread.join()

    def _slow(self) -> int:
        idents = {thread.ident for thread in self._threads}
        return min(MOST_SLOW, transport.calls_longer_than(SLOW_AFTER, by=idents))

    def _run(self) -> None:
        try:
            while not (jobs.stop_requested.is_set() or self._is_surplus()):
                self._turn()
        except BaseException:
            self.is_broken = True
            logger.exception("A thread of this worker ended.")
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
            connections.close_all()

    def _turn(self) -> None:
        """One row, or a pause when nothing is due or the database is gone."""
        try:
            if turn := self._agenda.take():
                self._agenda.work(turn)
            else:
                self._agenda.wait()
                close_old_connections()
        except (DatabaseError, InterfaceError) as problem:
            logger.warning("The database does not answer (%s); trying again.", type(problem).__name__)
            jobs.stop_requested.wait(WAIT_FOR_DATABASE)
            close_old_connections()

    def _is_surplus(self) -> bool:
        """Whether enough others work; then this thread is not counted any more."""
        with self._lock:
            surplus = len(self._threads) - self._slow() > self._size
            if surplus:
                self._threads.discard(threading.current_thread())
            return surplus

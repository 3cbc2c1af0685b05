"""TASKS_ENGINE=huey: wakes workers through Redis instead of the database. Imported only with that setting.

Redis holds nothing but wake-ups: if it loses them, work waits for the next sweep. Messages are signed, since huey
unpickles what it finds in its queue.
"""

import logging
import time
from typing import Any

from django.conf import settings
from django.db import close_old_connections
from django.utils.module_loading import import_string
from django_tasks.backends.base import BaseTaskBackend
from django_tasks.base import Task, TaskResult, TaskResultStatus
from django_tasks.utils import get_random_id
from huey import RedisHuey
from huey.serializer import SignedSerializer
from redis import ConnectionPool, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

WAIT_FOR_REDIS = 1.0  # seconds

queue = RedisHuey(
    "connect",
    results=False,
    serializer=SignedSerializer(secret=settings.SECRET_KEY, salt="connect.tasks"),
    # A webhook that waits for Redis is worse than a lost wake-up: no second try, short time-outs.
    connection_pool=ConnectionPool.from_url(
        settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=5, retry=Retry(NoBackoff(), 0)
    ),
)


@queue.task()  # type: ignore[untyped-decorator]
def perform(path: str, woken_by: str = "") -> None:
    """Runs the task at this dotted path."""
    import_string(path).call(woken_by=woken_by)


class HueyBackend(BaseTaskBackend):
    """Django Tasks through huey, for wake-ups: enqueues none while one waits."""

    def enqueue(self, task: "Task[..., Any]", args: Any, kwargs: Any) -> "TaskResult[Any]":
        """Raises RedisError when Redis does not take it."""
        self.validate_task(task)
        if args or kwargs.keys() - {"woken_by"}:
            raise ValueError("Tasks only wake a worker. They take no argument but woken_by.")
        if not queue.pending_count():
            perform(task.module_path, **kwargs)
        return TaskResult(
            task=task,
            id=get_random_id(),
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=[],
            kwargs={},
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )


class Worker:
    """Runs tasks until `running` is False. Waits for Redis when it does not answer."""

    running = True

    def run(self) -> None:
        while self.running:
            try:
                message = queue.dequeue()
            except RedisError as problem:
                logger.warning("Redis does not answer (%s); trying again.", type(problem).__name__)
                time.sleep(WAIT_FOR_REDIS)
                continue
            except ValueError:
                logger.error("A message in Redis was not signed by us; it was dropped.")
                continue
            if message is not None:
                queue.execute(message)
                close_old_connections()

"""Health checks for load balancers and supervisors: is the process up, and can it work?"""

import secrets
import time
from collections.abc import Callable

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from integrations.background import jobs
from integrations.models import NamedLock
from integrations.tokens import keys

# Bytes of the test write, as many as an exchange needs; at most one in so many seconds from each process.
TEST_WRITE_BYTES = 16 * 1024
TEST_WRITE_EVERY = 2.0
_written_at = -TEST_WRITE_EVERY
# The applied migrations, when none was missing.
_complete: frozenset[tuple[str, str]] = frozenset()


@login_not_required
@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers at all."""
    return HttpResponse("ok", content_type="text/plain")


@login_not_required
@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """200 when the database (writes too), schema and keys allow work, else 503 with the part that does not.

    The number of waiting rows is reported but never makes it 503: webhooks have to be accepted.
    """
    found = parts()
    fine = all(state == "ok" for state in found.values())
    waiting = jobs.due() if fine else None
    return JsonResponse({**found, "waiting": waiting}, status=200 if fine else 503)


def _read() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _write() -> None:
    """With a full disk, reads still work."""
    global _written_at  # noqa: PLW0603  (two threads may write at once)
    if time.monotonic() - _written_at > TEST_WRITE_EVERY:
        NamedLock.objects.check_space(secrets.token_bytes(TEST_WRITE_BYTES))
        _written_at = time.monotonic()


def _migrations_are_applied() -> bool:
    """Plans only when the applied migrations have changed: planning is slow, and probes come every few seconds."""
    global _complete  # noqa: PLW0603  (two threads may plan at once)
    applied = frozenset(MigrationRecorder(connection).applied_migrations())
    if applied != _complete:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return False
        _complete = applied
    return True


# Each raises what is wrong, or returns False.
PARTS: dict[str, Callable[[], bool | None]] = {
    "database": _read,
    "migrations": _migrations_are_applied,
    "keys": keys.require,
    "room": _write,
}


def parts() -> dict[str, str]:
    """Each part with "ok", or what is wrong with it."""
    return {name: _tried(part) for name, part in PARTS.items()}


def _tried(part: Callable[[], bool | None]) -> str:
    try:
        return "not applied" if part() is False else "ok"
    except keys.KeysMissing as problem:
        return str(problem)
    except DatabaseError as problem:
        return type(problem).__name__

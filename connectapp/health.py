"""For load balancers and supervisors: is the process up, and can it do its work?"""

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

# As much as an exchange takes. Whoever asks, and however often: one write in so many seconds, and process.
ROOM = 16 * 1024
ROOM_BELIEVED_FOR = 2.0
_room_seen_at = -ROOM_BELIEVED_FOR
# The migrations that were applied when none was missing.
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
    """200 when database (a write, too), schema and keys allow work, else 503 with the part that does not.

    How much is waiting is told too, but never makes it 503: the door for webhooks has to stay open.
    """
    found = parts()
    fine = all(state == "ok" for state in found.values())
    waiting = jobs.due() if fine else None
    return JsonResponse({**found, "waiting": waiting}, status=200 if fine else 503)


def _database_answers() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def _database_has_room() -> bool:
    """A full disk answers questions as if nothing were wrong; only a write tells."""
    global _room_seen_at  # noqa: PLW0603  (two threads that meet here write twice, no harm done)
    if time.monotonic() - _room_seen_at > ROOM_BELIEVED_FOR:
        NamedLock.objects.check_space(secrets.token_bytes(ROOM))
        _room_seen_at = time.monotonic()
    return True


def _migrations_are_applied() -> bool:
    """Planned anew only when others are applied than last time: it takes long for what is asked every few seconds."""
    global _complete  # noqa: PLW0603  (two threads that meet here plan twice, no harm done)
    applied = frozenset(MigrationRecorder(connection).applied_migrations())
    if applied != _complete:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return False
        _complete = applied
    return True


def _keys_are_there() -> bool:
    keys.require()
    return True


PARTS: dict[str, Callable[[], bool]] = {
    "database": _database_answers,
    "migrations": _migrations_are_applied,
    "keys": _keys_are_there,
    "room": _database_has_room,
}


def parts() -> dict[str, str]:
    """Each part with "ok", or what is wrong with it."""
    return {name: _tried(part) for name, part in PARTS.items()}


def _tried(part: Callable[[], bool]) -> str:
    try:
        return "ok" if part() else "not applied"
    except keys.KeysMissing as problem:
        return str(problem)
    except DatabaseError as problem:
        return type(problem).__name__

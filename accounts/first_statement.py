"""The first statement of a request, without the round trip that asks whether a kept connection still works."""

from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError
from django.db import connection as database

Result = TypeVar("Result")


def first_statement(send: Callable[[], Result]) -> Result:
    """What `send` returns. If the connection is dead, it is called once more with a new one: it may run twice."""
    if database.vendor == "sqlite" or database.in_atomic_block:
        return send()
    # Django's CONN_HEALTH_CHECKS would send a statement before it.
    database.health_check_done = True  # type: ignore[attr-defined]
    try:
        return send()
    except (OperationalError, InterfaceError):
        database.close()
        return send()

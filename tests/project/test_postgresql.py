"""The database engine `connectapp.postgresql`: what a server that said nothing means for the next connections."""

import time
from contextlib import closing

import pytest
from django.db import OperationalError
from django.db import connection as database

from connectapp import postgresql

pytestmark = pytest.mark.django_db


def test_an_answer_on_any_connection_lets_requests_open_new_ones_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one statement that waited long for a lock would refuse others although the server answers."""
    if database.vendor != "postgresql":
        pytest.skip("SQLite has no server.")
    from connectapp.postgresql import base  # noqa: PLC0415 (the driver is optional)

    monkeypatch.setattr(base, "_silent_until", time.monotonic() + 60)
    ended = postgresql.deadline.set(10.0)
    try:
        with closing(database.copy()) as another:
            with pytest.raises(OperationalError, match="a moment ago"):
                another.ensure_connection()
            with database.cursor() as cursor:
                cursor.execute("SELECT 1")
            another.ensure_connection()
    finally:
        postgresql.deadline.reset(ended)

"""The addresses that load balancers and supervisors ask."""

import pytest
from django.test import Client

from connectapp import health
from integrations.encryption import CannotUnseal


@pytest.mark.django_db
def test_ready_says_that_database_schema_and_keys_allow_work(stranger: Client) -> None:
    answer = stranger.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json() == {"database": "ok", "migrations": "ok", "keys": "ok", "waiting": 0}


@pytest.mark.django_db
def test_keys_that_cannot_be_used_make_it_503(stranger: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        raise CannotUnseal

    monkeypatch.setitem(health.PARTS, "keys", broken)

    assert stranger.get("/health/ready").status_code == 503


def test_live_needs_no_database(stranger: Client) -> None:
    # Without the django_db mark a query would fail this test.
    assert stranger.get("/health/live").status_code == 200

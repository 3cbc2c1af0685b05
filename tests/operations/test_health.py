"""The addresses that load balancers and supervisors ask."""

import pytest
from django.test import Client
from pytest_django import Settings

from connectapp import health
from integrations.tokens.keys import KeysMissing


@pytest.mark.django_db
def test_ready_says_that_database_schema_and_keys_allow_work(stranger: Client) -> None:
    answer = stranger.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json() == {"database": "ok", "migrations": "ok", "keys": "ok", "room": "ok", "waiting": 0}


@pytest.mark.django_db
def test_keys_that_are_missing_make_it_503(stranger: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        raise KeysMissing("not configured: 0123abcd")

    monkeypatch.setitem(health.PARTS, "keys", broken)

    answer = stranger.get("/health/ready")
    assert (answer.status_code, answer.json()["keys"]) == (503, "not configured: 0123abcd")


def test_live_needs_no_database(stranger: Client) -> None:
    # Without the django_db mark a query would fail this test.
    assert stranger.get("/health/live").status_code == 200


def test_a_balancer_asks_by_address_and_over_plain_http(stranger: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["app.example.com"]
    settings.SECURE_SSL_REDIRECT = True

    assert stranger.get("/health/live", headers={"host": "10.0.0.7:8000"}).status_code == 200
    assert stranger.get("/", headers={"host": "10.0.0.7:8000"}).status_code != 200

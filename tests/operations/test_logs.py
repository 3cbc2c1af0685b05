"""Every line of log says which request it belongs to, in web and worker, and none of them holds a secret."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.decorators import login_not_required
from django.core import mail
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from pytest_django import Settings

from connectapp import redaction
from connectapp.crash_reports import OperatorMailHandler
from connectapp.redaction import RedactingFormatter
from connectapp.urls import handler400, handler500, urlpatterns
from integrations.background.agenda import Agenda
from integrations.background.due_rows import Job
from integrations.models import Worker

__all__ = ["handler400", "handler500"]
logger = logging.getLogger("tests.lines")


def _raise(problem: Exception) -> Callable[[HttpRequest], HttpResponse]:
    @login_not_required
    def view(request: HttpRequest) -> HttpResponse:
        logger.warning("About to fail, access_token=Very-Secret-0123456789")
        raise problem

    return view


FAILURES: dict[str, tuple[Exception, int]] = {
    "missing": (Http404("secret detail"), 404),
    "forbidden": (PermissionError("secret detail"), 500),
    "broken": (ValueError("secret detail"), 500),
    "large": (RequestDataTooBig("secret detail"), 413),
    "away": (OperationalError("secret detail"), 503),
}
# This module is the URLconf of these tests: the product's own, and views that fail.
urlpatterns = [*urlpatterns, *(path(f"{name}/", _raise(problem)) for name, (problem, _) in FAILURES.items())]


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What a collector would get, read back."""
    seen: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(json.loads(self.format(record)))

    kept = Kept()
    kept.setFormatter(RedactingFormatter(as_json=True))
    logging.getLogger().addHandler(kept)
    yield seen
    logging.getLogger().removeHandler(kept)


@pytest.fixture
def failing(settings: Settings) -> Client:
    settings.ROOT_URLCONF = "tests.operations.test_logs"
    return Client(raise_request_exception=False)


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(FAILURES))
def test_H8_an_error_page_names_the_request_and_nothing_of_ours(
    name: str, failing: Client, lines: list[dict[str, Any]]
) -> None:
    answer = failing.get(f"/{name}/")

    number = answer["X-Request-ID"]
    assert answer.status_code == FAILURES[name][1]
    assert number in answer.text
    for inside in ("Traceback", "secret detail", "Django", "Python", type(FAILURES[name][0]).__name__):
        assert inside not in answer.text
    mine = [line for line in lines if line["logger"] == "tests.lines"]
    assert [line["request_id"] for line in mine] == [number]
    assert "Very-Secret" not in json.dumps(lines)


@pytest.mark.django_db
def test_H8_a_page_over_a_database_that_is_away_says_when_to_come_back(failing: Client) -> None:
    assert failing.get("/away/")["Retry-After"] == "30"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("proxies", "given", "kept"),
    [
        (1, "0123456789abcdef0123456789abcdef", True),
        (0, "0123456789abcdef0123456789abcdef", False),
        (1, "short", False),
        (1, "injected 0123456789abcdef", False),
        (1, "x" * 65, False),
    ],
)
def test_a_proxys_number_is_kept_and_nobody_elses(
    proxies: int, given: str, kept: bool, stranger: Client, settings: Settings
) -> None:
    settings.TRUSTED_PROXIES = proxies

    answer = stranger.get("/health/live", headers={"x-request-id": given})

    assert (answer["X-Request-ID"] == given) == kept
    assert answer["X-Request-ID"]


def test_the_lines_of_a_workers_turn_carry_a_number_of_its_own(lines: list[dict[str, Any]]) -> None:
    job = Job(Worker.objects.all, lambda _: logger.warning("At work"))
    agenda = Agenda([job])
    agenda.work((job, 1))
    agenda.work((job, 2))

    numbers = [line["request_id"] for line in lines if line["logger"] == "tests.lines"]
    assert [len(number) for number in numbers] == [16, 16]
    assert numbers[0] != numbers[1]


@pytest.mark.django_db
def test_a_crash_mail_names_the_request(failing: Client, settings: Settings) -> None:
    reports = OperatorMailHandler()
    logging.getLogger("django.request").addHandler(reports)
    try:
        number = failing.get("/broken/")["X-Request-ID"]
        reports.flush()
    finally:
        logging.getLogger("django.request").removeHandler(reports)

    assert f"Request {number}" in mail.outbox[0].body


def test_a_traceback_in_a_line_is_masked_too() -> None:
    try:
        raise ValueError("Bearer Very-Secret-0123456789")
    except ValueError as problem:
        record = logger.makeRecord("x", logging.ERROR, "f", 1, "Failed", (), (ValueError, problem, None))

    for as_json in (True, False):
        line = RedactingFormatter(as_json=as_json).format(record)
        assert "ValueError" in line
        assert "Very-Secret" not in line


SECRET = "S3cr3t/+value.~-_0"


@pytest.mark.parametrize(
    "line",
    [
        "access_token={}",
        "?state={}&x=1",
        '{{"refresh_token": "{}"}}',
        "{{'client_secret': '{}'}}",
        r"{{\"access_token\": \"{}\", \"x\": 1}}",
        r'"{{\\\"access_token\\\":\\\"{}\\\"}}"',
        "access%5Ftoken={}",
        "access%255Ftoken%253D{}",
        "%7B%22access_token%22%3A%22{}%22%7D",
        "%7B%22refresh_token%22%3A%20%22{}%22%7D",
        "%257B%2522refresh_token%2522%253A%2522{}%2522%257D",
        "{{&quot;access_token&quot;: &quot;{}&quot;}}",
        "Authorization: Bearer {}",
    ],
)
@pytest.mark.parametrize("secret", [SECRET, SECRET.replace("/", r"\/"), SECRET.replace("/", "%2F")])
def test_whatever_is_named_like_a_secret_is_masked_in_every_spelling(line: str, secret: str) -> None:
    masked = redaction.redact(line.format(secret))
    assert "[redacted]" in masked
    assert "S3cr3t" not in masked
    assert "value" not in masked

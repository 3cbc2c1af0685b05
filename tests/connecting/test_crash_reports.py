"""Row T4 of the score card: what a crash of the callback tells the operator, an error reporter and the debug page."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from smtplib import SMTPServerDisconnected
from typing import Any

import pytest
from django.core import mail
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.mail.backends.locmem import EmailBackend
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from accounts.models import Customer, User
from connectapp.crash_reports import OperatorMailHandler, traceback_without_values
from integrations.models import Connection, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody, encryption
from tests.settings import SENTINEL
from tests.support.clients import PAT, Sandbox, Visitor, callback
from tests.support.measurements import record
from tests.support.secret_scan import spellings
from tests.support.startup import start

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.interface]
Visit = Callable[[User], Visitor]
VIEW = "connect_callback"


@pytest.fixture
def operator(settings: Settings) -> Iterator[OperatorMailHandler]:
    """The handler as production has it, beside Django's ADMINS, and every mail they send in `mail.outbox`."""
    settings.OPERATOR_EMAIL = "operator@example.com"
    settings.ADMINS = [("Operator", "operator@example.com")]
    handler = OperatorMailHandler()
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    handler.flush()


@pytest.fixture
def reported() -> Iterator[list[str]]:
    """What an error reporter that listens to Django's signal could send away: its reports in both forms."""
    reports: list[str] = []

    def listen(request: HttpRequest, **_: Any) -> None:
        kind, crash, traceback = sys.exc_info()
        for is_email in (False, True):
            reporter = ExceptionReporter(request, kind, crash, traceback, is_email)
            reports.extend([reporter.get_traceback_text(), reporter.get_traceback_html()])
        reports.append(f"{request!r} {request.GET} {request.META} {request.build_absolute_uri()} {crash!r}")

    got_request_exception.connect(listen)
    yield reports
    got_request_exception.disconnect(listen)


def hits(*texts: str) -> int:
    everything = "\n".join(texts).encode()
    return sum(everything.count(spelling) for spelling in spellings(SENTINEL))


def crash(browser: Visitor, address: str) -> HttpResponse:
    browser.raise_request_exception = False
    return browser.open_callback(address)


# Where the callback may fail with tokens in its hands, from the outermost frame to a library's.
POINTS = [
    (custody, "receive"),
    (encryption, "seal"),
    (encryption, "_cipher"),
    (token_pair, "fingerprint"),
    (TokenPair, "save"),
]


@pytest.mark.parametrize("debug", [False, True], ids=["production", "DEBUG"])
@pytest.mark.parametrize(("where", "name"), POINTS, ids=lambda point: getattr(point, "__name__", point))
def test_T4_a_crash_of_the_callback_tells_where_and_no_token(
    where: Any,
    name: str,
    debug: bool,
    sandbox: Sandbox,
    visit: Visit,
    alice: User,
    acme: Customer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    operator: OperatorMailHandler,
    reported: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("out of order")

    browser = visit(alice)
    address = sandbox.decide(browser.start_connect(acme))
    assert SENTINEL in address
    monkeypatch.setattr(where, name, broken)
    settings.DEBUG = debug

    answer = crash(browser, address)

    operator.flush()
    (message,) = mail.outbox
    told = f"{message.subject}\n{message.body}"
    page = answer.content.decode()
    leaked = hits(told, page, *reported, caplog.text)
    record(
        "T4",
        f"the callback crashes in {name}{' with DEBUG' if debug else ''}",
        f"{leaked} hits in mail, page, {len(reported)} reports and log; names the view",
    )
    assert leaked == 0
    assert answer.status_code == 500
    assert VIEW in told and "ValueError" in told and "integrations/views/connect.py" in told
    assert "GET /connect/callback/" in told
    assert message.to == ["operator@example.com"]
    assert (VIEW in page or "integrations.views.connect.callback" in page) is debug
    assert not Connection.objects.exists()


@pytest.mark.parametrize("debug", [False, True], ids=["production", "DEBUG"])
@pytest.mark.parametrize(("problem", "status"), [(SuspiciousOperation, 400), (PermissionDenied, 403)])
def test_T4_a_refusal_in_the_callback_repeats_no_token_and_mails_nobody(
    problem: type[Exception],
    status: int,
    debug: bool,
    sandbox: Sandbox,
    visit: Visit,
    alice: User,
    acme: Customer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    operator: OperatorMailHandler,
    reported: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refused(*args: Any, **kwargs: Any) -> Any:
        raise problem

    browser = visit(alice)
    address = sandbox.decide(browser.start_connect(acme))
    monkeypatch.setattr(custody, "receive", refused)
    settings.DEBUG = debug

    answer = crash(browser, address)

    operator.flush()
    assert answer.status_code == status
    assert hits(answer.content.decode(), str(answer.headers), *reported, caplog.text) == 0
    assert mail.outbox == []


def test_T4_the_callback_over_plain_http_repeats_no_token(settings: Settings, operator: OperatorMailHandler) -> None:
    settings.DEBUG = True
    settings.SNAPINSPECT_REDIRECT_URI = "https://app.example.com/connect/callback/"
    answer = Visitor().open_callback(callback(access_token=f"{SENTINEL}-a", refresh_token=f"{SENTINEL}-r", state="x"))
    assert answer.status_code == 400
    assert hits(answer.content.decode(), str(answer.headers)) == 0
    assert mail.outbox == []


def test_the_debug_page_shows_no_personal_token_that_was_posted_nor_any_cookie(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ValueError

    browser = visit(alice)
    browser.raise_request_exception = False
    token = sandbox.control("POST", "personal", {"account": PAT})["token"]
    monkeypatch.setattr(custody, "receive_personal", broken)
    settings.DEBUG = True

    answer = browser.post(f"/c/{acme.code}/personal/", {"token": token})

    page = answer.content.decode()
    assert answer.status_code == 500
    assert "receive_personal" in page
    assert hits(page) == 0
    for cookie in browser.cookies.values():
        assert cookie.value not in page


def test_a_storm_of_crashes_is_three_mails_a_minute_and_the_next_one_counts_the_rest(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    clock = iter([0.0, 1.0, 2.0, *(3.0 for _ in range(40)), 61.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    handler = OperatorMailHandler()
    for _ in range(44):
        handler.handle(_record(ValueError()))
        handler.flush()
    assert len(mail.outbox) == 4
    assert "40 more crashes" in mail.outbox[3].body
    assert "more crashes" not in mail.outbox[2].body


def test_a_view_that_answers_503_by_itself_and_a_mail_server_that_is_down_are_no_crashes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    handler = OperatorMailHandler()
    handler.handle(_record(None))
    handler.flush()
    assert mail.outbox == []

    def down(*_: Any) -> int:
        raise SMTPServerDisconnected(f"{SENTINEL} of the mail server")

    monkeypatch.setattr(EmailBackend, "send_messages", down)
    handler.handle(_record(ValueError()))
    handler.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "A crash could not be mailed to the operator (SMTPServerDisconnected)."
    ]


def test_the_places_of_a_crash_include_what_led_to_it() -> None:
    def inner() -> None:
        raise KeyError(SENTINEL)

    def outer() -> None:
        try:
            inner()
        except KeyError as problem:
            raise ValueError(SENTINEL) from problem

    with pytest.raises(ValueError) as caught:
        outer()
    told = traceback_without_values(caught.value)
    assert told.index("KeyError") < told.index("ValueError\n")
    assert "in inner" in told and "in outer" in told
    assert hits(told) == 0


def test_the_path_in_a_crash_mail_holds_no_webhook_secret() -> None:
    request = HttpRequest()
    request.method, request.path = "POST", f"/webhooks/snapinspect/{SENTINEL}-secret/"
    handler = OperatorMailHandler()
    handler.handle(_record(ValueError(), request))
    handler.flush()
    assert "POST /webhooks/snapinspect/[redacted]/" in mail.outbox[0].body
    assert hits(str(mail.outbox[0].message())) == 0


@pytest.mark.once
@pytest.mark.parametrize(("debug", "handlers"), [("false", "['OperatorMailHandler']"), ("true", "[]")])
def test_production_mails_crashes_and_development_does_not(debug: str, handlers: str) -> None:
    show = (
        "import django, logging; django.setup();"
        "print([type(handler).__name__ for handler in logging.getLogger('django.request').handlers])"
    )
    local = {"ALLOWED_HOSTS": "localhost", "SNAPINSPECT_REDIRECT_URI": "https://localhost/connect/callback/"}
    hosts = local if debug == "true" else {}
    finished = start("-c", show, DEBUG=debug, DJANGO_SETTINGS_MODULE="connectapp.settings", **hosts)
    assert (finished.stdout.strip(), finished.stderr) == (handlers, "")


def _record(problem: BaseException | None, request: HttpRequest | None = None) -> logging.LogRecord:
    info = (type(problem), problem, problem.__traceback__) if problem else None
    record = logging.LogRecord("django.request", logging.ERROR, "", 0, "Internal Server Error", (), info)
    record.request = request
    return record

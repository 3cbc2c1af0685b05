"""Row T7 of the score card: a SnapInspect that repeats our tokens in its answers cannot make us write them down."""

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import connection as database

from accounts.models import Customer, User
from connectapp.redaction import RedactingFormatter
from integrations.calls import api_client
from integrations.models import Connection, TokenPair
from integrations.snapinspect import client
from integrations.snapinspect.errors import SnapInspectError
from integrations.tokens import custody, proof
from tests.settings import SENTINEL
from tests.support.clients import OTHER, Sandbox, Visitor, callback, work, work_as_if_later
from tests.support.measurements import record
from tests.support.secret_scan import spellings

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.interface]
Visit = Callable[[User], Visitor]
EXCHANGE, USER = "/integration/ExchangeToken", "/user"


def as_error(access: str, refresh: str) -> Any:
    return {"error": "invalid_grant", "error_description": f"{refresh} is spent, and so is {access}"}


def as_html(access: str, refresh: str) -> Any:
    return f"<!doctype html><title>Oops</title><pre>refresh_token={refresh}\nAuthorization: Bearer {access}</pre>"


def as_shape(access: str, refresh: str) -> Any:
    return {"access_token": None, "token_type": "Bearer", "refresh_token": refresh, "was": [access]}


def as_profile(access: str, refresh: str) -> Any:
    return {
        "iUserID": 501,
        "sName": f"Pat {access}",
        "sEmail": access,
        "company": {"iCompanyID": 6847, "sCompanyName": access.replace("S", "%53")},
        "debug": {access: [f"Bearer {access}", json.dumps({"token": access})]},
        "sRefreshToken": refresh,
        "sLink": f"https://my.snapinspect.com/?r={quote(refresh.replace('S', '%53'))}",
    }


STATUSES = [200, 400, 401, 403, 404, 429, 500]
EXCHANGES = [(body, status) for body in (as_error, as_html, as_shape) for status in STATUSES]
# `make test` tries each body and each way that a status is read once, `make test-slow` every pair.
FEW = [(as_error, 401), (as_html, 200), (as_shape, 500)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "PAUSE_BEFORE_BELIEVING_401", 0.0)
    monkeypatch.setattr(client, "_SHORTEST_PAUSE", 0.0)


@pytest.fixture(autouse=True)
def log() -> Iterator[list[str]]:
    """Every line that any logger would write at DEBUG, as production writes it and tracebacks included."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(RedactingFormatter().format(record))

    handler, root = Kept(), logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)


def rows() -> str:
    """Every cell of every table, checks and sessions included."""
    cells: list[Any] = [session.get_decoded() for session in Session.objects.all()]
    with database.cursor() as cursor:
        for table in database.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {database.ops.quote_name(table)}")
            cells += [cell for row in cursor.fetchall() for cell in row]
    return "\n".join(
        bytes(cell).decode("latin-1") if isinstance(cell, bytes | memoryview) else str(cell) for cell in cells
    )


def pages(browser: Visitor, connection: Connection) -> str:
    """What a person gets to see of a connection, whatever they press."""
    where = f"/c/{connection.customer.code}/"
    below = f"{where}connections/{connection.code}/"
    answers = [browser.get(path) for path in (where, f"{below}panels/account/", below)]
    answers += [browser.post(f"{below}{press}/", follow=True) for press in ("test", "replace-tokens")]
    answers += [browser.get(path) for path in (where, f"{below}activity/", below)]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    return "\n".join(answer.content.decode() for answer in answers)


def trace_of(connection: Connection) -> str:
    """The traceback of a call for this connection, with every exception that led to it, as a task row would keep it."""
    try:
        api_client.get(connection, "user")
        custody.client_for(connection).user()
    except (api_client.NoAnswer, SnapInspectError, custody.NoTokens) as problem:
        return "".join(traceback.format_exception(problem))
    return ""


def hits(*texts: str) -> int:
    plain = "\n".join(texts)
    everything = (plain + unquote(plain)).encode()
    return sum(everything.count(spelling) for spelling in spellings(SENTINEL))


def everything_written(browser: Visitor, connection: Connection, log: list[str]) -> tuple[str, ...]:
    shown, traced = pages(browser, connection), trace_of(connection)
    return shown, traced, rows(), "\n".join(log), "\n".join(str(message.message()) for message in mail.outbox)


@pytest.mark.parametrize(
    ("body", "status"),
    [pytest.param(*pair, marks=[] if pair in FEW else pytest.mark.slow) for pair in EXCHANGES],
)
def test_T7_an_exchange_that_repeats_both_tokens_leaves_no_trace_of_them(
    body: Callable[[str, str], Any],
    status: int,
    sandbox: Sandbox,
    visit: Visit,
    alice: User,
    acme: Customer,
    log: list[str],
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    access, refresh = living(sandbox)
    echo = body(access, refresh)
    headers = {"WWW-Authenticate": f'Bearer error_description="{refresh}"', "X-Echo": access}
    sandbox.fault(EXCHANGE, "status", times=None, status=status, body=echo, headers=headers)
    sandbox.control("POST", "revoke", {"token": access})
    browser.open_callback(sandbox.decide(browser.start_connect(acme), account=OTHER))  # one on its way meets the same

    work()
    written = everything_written(browser, connection, log)

    found = hits(*written)
    record(
        "T7",
        f"an exchange answers {status} and repeats both tokens",
        f"{found} hits in pages, tracebacks, rows, log and mail",
    )
    assert sandbox.exchanges() > 2
    assert found == 0


@pytest.mark.parametrize(("status", "body"), [(200, as_profile), *((status, as_html) for status in STATUSES)])
def test_T7_a_user_answer_that_repeats_the_token_leaves_no_trace_of_it(
    body: Callable[[str, str], Any],
    status: int,
    sandbox: Sandbox,
    visit: Visit,
    alice: User,
    acme: Customer,
    log: list[str],
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    access, refresh = living(sandbox)
    echo = body(access, refresh)
    sandbox.fault(USER, "status", times=None, status=status, body=echo, headers={"X-Echo": access})

    work_as_if_later()
    work()
    written = everything_written(browser, connection, log)

    found = hits(*written)
    record(
        "T7", f"/user answers {status} and repeats the token", f"{found} hits in pages, tracebacks, rows, log and mail"
    )
    assert connection.connection_tests.exists()
    assert found == 0
    if body is as_profile:
        assert "[token]" in written[0], "the answer was shown, without the token"


def test_T7_a_refusal_in_the_browser_s_address_that_holds_tokens_leaves_no_trace_of_them(
    sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, log: list[str]
) -> None:
    browser = visit(alice)
    connection = browser.connect(acme, sandbox)
    access, refresh = living(sandbox)
    state = sandbox.decide(browser.start_connect(acme, connection=connection)).partition("state=")[2].partition("&")[0]

    answer = browser.open_callback(
        callback(error="access_denied", error_description=f"{access} {refresh}", state=state)
    )

    assert answer.status_code == 303
    assert hits(str(answer.headers), *everything_written(browser, connection, log)) == 0
    assert TokenPair.objects.count() == 1


def living(sandbox: Sandbox) -> tuple[str, str]:
    """The access and the refresh token that are in use."""
    found = {str(token["kind"]): str(token["token"]) for token in sandbox.tokens() if token["live"]}
    return found["access"], found["refresh"]

"""Clients of tests: a person's browser, the stand-in's control API, and the worker."""

import base64
import gzip
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpResponse
from django.test import Client
from django.test.client import ClientHandler
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, User
from connectapp.environment import mail_settings
from connectapp.redaction import HideTokenQueries
from integrations.background import jobs
from integrations.connecting import completion
from integrations.models import Connection, State, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody, storage

# Accounts of the stand-in (integrations/sandbox/accounts.py).
PAT, COMPANY_OF_PAT = "501", "6847"
OTHER, COMPANY_OF_OTHER = "601", "7001"

# Faults that several tests inject, by name. Their settings are those of integrations/sandbox/faults.py.
FAULTS: dict[str, dict[str, Any]] = {
    "hang": {"delay": 3600},
    "close": {"close": True},
    "lost_answer": {"work": True, "close": True},
    "status": {"status": 500},
    "unavailable_after_work": {"work": True, "status": 500},
    "redirect": {"status": 302, "headers": {"Location": "/"}},
    "html": {"status": 200, "headers": {"Content-Type": "text/html"}, "body": "<!doctype html><p>Back soon.</p>"},
    "raw": {"status": 200},
    "cut": {"status": 200, "headers": {"Content-Length": "100", "Connection": "close"}, "body": '{"iUserID": 5'},
    "null_token": {"change": {"access_token": None}},
    "missing_token": {"remove": ["access_token"]},
    "missing_refresh": {"remove": ["refresh_token"]},
    "wrong_state": {"change": {"state": "not-the-state-that-was-sent"}},
    "wrong_type": {"change": {"token_type": "mac"}},
    "extra_fields": {"change": {"expires_in": "", "scope": [1], "sub": {"a": None}}},
    "duplicate_keys": {"duplicate": ["access_token", "token_type", "state", "refresh_token"]},
}


@cache
def bomb() -> dict[str, Any]:
    """The fault that answers with 11 kB of gzip, which decompress to 11 MB of JSON."""
    packed = gzip.compress(b'{"padding": "%b"}' % (b"a" * 11_000_000))
    return {"status": 200, "headers": {"Content-Encoding": "gzip"}, "body_base64": base64.b64encode(packed).decode()}


class Sandbox:
    """The stand-in SnapInspect, as its control API shows it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, and no look for a .netrc at each call

    def control(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = self._session.request(method, f"{self.url}control/{path}", json=body, params=query, timeout=120)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def reset(self) -> None:
        self.control("POST", "reset")

    def mode(self, mode: str) -> None:
        self.control("POST", "token_settings", {"mode": mode})

    def fault(self, path: str, kind: str = "", *, times: int | None = 1, **settings: Any) -> None:
        """Injects a fault: one of `FAULTS`, a *bomb*, or only these settings."""
        named = bomb() if kind == "bomb" else FAULTS[kind] if kind else {}
        self.control("POST", "faults", {"path": path, "times": times, **named, **settings})

    def clear_faults(self) -> None:
        self.control("DELETE", "faults")

    def calls(self, path: str = "") -> list[dict[str, Any]]:
        """The requests that reached it, control calls aside."""
        log = self.control("GET", "log")
        seen: list[dict[str, Any]] = log["requests"]
        return [call for call in seen if call["path"].startswith(path or "/") and "/control/" not in call["path"]]

    def exchanges(self) -> int:
        return len(self.calls("/integration/ExchangeToken"))

    def tokens(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", "tokens")["tokens"]
        return found

    def grant(self, account: str = PAT) -> dict[str, str]:
        """A pair of tokens that nobody had to allow in a browser."""
        pair: dict[str, str] = self.control("POST", "grant", {"account": account})
        return pair

    def accepts(self, token: str) -> bool:
        answer = requests.get(f"{self.url}user", headers={"Authorization": f"Bearer {token}"}, timeout=30)
        return answer.status_code == 200

    def decide(self, authorization_url: str, *, account: str = PAT, decision: str = "allow") -> str:
        """What a person does on the consent page; returns the address the browser is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(authorization_url).query).items()}
        answer = requests.post(
            f"{self.url}integration/SnapInspectConnect",
            data={**asked, "account": account, "decision": decision},
            allow_redirects=False,
            timeout=30,
        )
        assert answer.status_code in {302, 303}, answer.text
        return answer.headers["Location"]


class _AsServed(ClientHandler):
    """Django's test client goes straight to the handler; this one passes the wrapper that gunicorn serves."""

    def __call__(self, environ: dict[str, Any]) -> Any:
        inner = super().__call__
        return HideTokenQueries(lambda sealed, _: inner(sealed))(environ, lambda *_: None)


class Visitor(Client):
    """A person's browser."""

    # The last download of any of them: a server would have ended it by the time of the next request.
    _download: Any = None

    def __init__(self, *, enforce_csrf_checks: bool = False, **defaults: Any) -> None:
        super().__init__(**{"SERVER_NAME": "localhost", **defaults})
        self.handler = _AsServed(enforce_csrf_checks=enforce_csrf_checks)

    def request(self, **request: Any) -> Any:
        self.end_download()
        response = super().request(**request)
        Visitor._download = response if response.streaming else None
        return response

    @classmethod
    def end_download(cls) -> None:
        """Closes the last answer that was streamed, as a server does when the reader has left."""
        if Visitor._download is not None:
            for close in Visitor._download._resource_closers:
                close()  # not `response.close`, which ends the test's database connection, too
            Visitor._download = None

    def start_connect(self, customer: Customer, *, connection: Connection | None = None) -> str:
        """Presses Connect (or Reconnect); returns the address of SnapInspect's page."""
        where = f"/c/{customer.code}/"
        path = f"{where}connections/{connection.code}/reconnect/" if connection else f"{where}connect/"
        response = self.post(path)
        assert response.status_code == 302, response.status_code
        return str(response["Location"])

    def open_callback(self, address: str) -> HttpResponse:
        """Follows SnapInspect's redirect to our callback, and not what that answers."""
        parts = urlsplit(address)
        return self.get(f"{parts.path}?{parts.query}")  # type: ignore[return-value]

    def connect(self, customer: Customer, sandbox: Sandbox, *, account: str = PAT) -> Connection:
        """Connects: presses the button, allows, follows the redirect, and runs the worker."""
        response = self.open_callback(sandbox.decide(self.start_connect(customer), account=account))
        assert response.status_code == 303, response.status_code
        assert response["Location"] == f"/c/{customer.code}/", response["Location"]
        work()
        connection = customer.connections.order_by("-connected_at", "-pk").first()
        assert connection is not None
        return connection

    def look(self, connection: Connection) -> None:
        """Opens every page of a connection and presses what changes nothing: none of it may end in an error page."""
        where = f"/c/{connection.customer.code}/"
        for path in ("", f"connections/{connection.code}/panels/account/", "connection-states/"):
            assert self.get(where + path).status_code in {200, 204}, path
        assert self.post(f"{where}connections/{connection.code}/test/", follow=True).status_code == 200


def quick_connect(customer: Customer, sandbox: Sandbox, *, by: User, account: str = PAT) -> Connection:
    """A connection as `Visitor.connect` makes it, without the pages, the exchange and the other jobs of a worker.

    For tests about what comes afterwards: it takes a fifth of the time.
    """
    granted = sandbox.grant(account)
    pair = token_pair.TokenPair(granted["access_token"], granted["refresh_token"])
    with transaction.atomic():
        made = Connection.objects.create(customer=customer, connected_by=by)
        custody.receive_exchanged(made, storage.columns(pair, made), by=by)
    completion.finish(TokenPair.objects.get(connection=made).pk)
    connection = customer.connections.order_by("-connected_at", "-pk").first()
    assert connection is not None and connection.state == State.CONNECTED
    return connection


def state_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["state"][0]


def callback(**query: str) -> str:
    return f"http://localhost:8000/connect/callback/?{urlencode(query)}"


def work() -> None:
    """What a worker does with what is due; waiting for later tries is left out."""
    jobs.work_off()


def work_as_if_later() -> None:
    """The same when the time of the next try has come."""
    TokenPair.objects.update(next_try_at=Now())
    Connection.objects.exclude(next_check_at=None).update(next_check_at=Now())
    work()


def badge(connection: Connection) -> str:
    """The word that people read beside this connection now."""
    return str(Connection.objects.get(pk=connection.pk).badge.label)


def send_mail_through(settings: Settings, url: str) -> None:
    """From now on mail goes out as this EMAIL_URL says."""
    for name, value in mail_settings(url).items():
        setattr(settings, name, value)


def audited(kind: str) -> int:
    return AuditEntry.objects.filter(kind=kind).count()


def everything_kept() -> list[Any]:
    """All rows about connections and tokens: compared before and after what must change nothing."""
    return [*Connection.objects.order_by("pk").values(), *TokenPair.objects.order_by("pk").values()]

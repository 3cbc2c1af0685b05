"""Row H8 where people meet it: behind the shipped nginx, from the processes of production.

On PostgreSQL and behind a real nginx whatever the suite runs on, so once is enough.
"""

import json
import os
import re
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from signal import SIGINT, SIGSTOP

import psycopg
import pytest
import requests

from tests.support import postgres
from tests.support.deployment import Deployment
from tests.support.measurements import record
from tests.support.sizes import size
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is missing (apt-get install nginx)"),
    pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL is missing (apt-get install postgresql)"),
]
# What no stranger needs to know: traces, software, versions, places in the code.
INSIDE = re.compile(r"Traceback|Exception|Error\b|Django|Python|gunicorn|nginx/|psycopg|postgres|\.py\b")
# More than the shipped limit lets through at once, and what it forgives in the meantime.
FLOOD = 400


@dataclass(frozen=True)
class Answer:
    status: int
    number: str
    head: str
    page: str


def answer(got: requests.Response) -> Answer:
    return Answer(got.status_code, got.headers.get("X-Request-ID", ""), str(got.headers), got.text)


def send(deployment: Deployment, request: bytes, *, source: str = "127.0.0.1") -> Answer:
    """What nginx says to this, byte for byte, over TLS."""
    with connected(deployment, source) as connection:
        connection.sendall(request)
        got = HTTPResponse(connection)
        got.begin()
        return Answer(got.status, got.getheader("X-Request-ID", ""), str(got.headers), got.read().decode())


def flood(deployment: Deployment, request: bytes) -> list[Answer]:
    """More of these than the limit forgives, one behind the other on one connection: as fast as nginx can read."""
    with connected(deployment) as connection:
        connection.sendall(request.replace(b"Connection: close\r\n", b"") * FLOOD + request)
        received = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    answers = []
    for one in received.split("HTTP/1.1 ")[1:]:
        head, _, page = one.partition("\r\n\r\n")
        number = re.search(r"^X-Request-ID: (\w+)", head, re.MULTILINE)
        answers.append(Answer(int(head[:3]), number[1] if number else "", head, page))
    return answers


@contextmanager
def connected(deployment: Deployment, source: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=deployment.certificate)
    address = ("127.0.0.1", deployment.https_port)
    with (
        socket.create_connection(address, 90, source_address=(source, 0)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        yield connection


def judge(deployment: Deployment, seen: dict[str, tuple[Answer, int]]) -> None:
    """Status as expected, nothing of ours, and a number that is on the page, in the answer and in nginx's log."""

    def logged() -> dict[str, str]:
        lines = re.findall(r" (\d{3}) \d+ \S+ app=.* (\w{32})$", deployment.log("connect.access"), re.MULTILINE)
        return {number: status for status, number in lines}

    # nginx writes the line after the answer.
    wait_until(lambda: all(got.number in logged() for got, _ in seen.values()))
    written = logged()
    for name, (got, status) in seen.items():
        assert got.status == status, (name, got)
        assert f"<code>{got.number}</code>" in got.page, (name, got)
        assert written[got.number] == str(status), (name, got)
        assert not INSIDE.search(got.head + got.page), (name, got)


@contextmanager
def without_a_table(deployment: Deployment, table: str) -> Iterator[None]:
    """A database that answers, but not what the code expects: that is a mistake of ours, not an outage."""
    with psycopg.connect(deployment.database.url, autocommit=True) as database:
        database.execute(f"ALTER TABLE {table} RENAME TO taken_away")
        try:
            yield
        finally:
            database.execute(f"ALTER TABLE taken_away RENAME TO {table}")


def test_H8_every_error_of_the_app_names_the_request_and_nothing_of_ours(deployment: Deployment) -> None:
    visitor, stranger = deployment.visitor().sign_up(), deployment.visitor()
    page = f"c/{visitor.code}/"
    seen = {
        "400": (send(deployment, b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), 400),
        "403": (answer(stranger.http.post(f"{deployment.url}accounts/login/", {"login": "x"}, timeout=60)), 403),
        "404": (answer(visitor.get("nowhere/")), 404),
        "404 of another customer": (answer(visitor.get("c/nosuchcode22/")), 404),
    }
    with without_a_table(deployment, "accounts_membership"):
        seen["500"] = answer(visitor.get(page)), 500
    deployment.database.stop(SIGINT)
    try:
        down = visitor.get(page)
        seen["503"] = answer(down), 503
    finally:
        deployment.database.start()
    wait_until(lambda: visitor.get(page).status_code == 200)

    judge(deployment, seen)
    assert down.headers["Retry-After"] == "30"
    crash = [
        json.loads(line)
        for line in deployment.log("connect-web@.service").splitlines()
        if seen["500"][0].number in line
    ]
    assert any("Traceback" in line.get("exception", "") for line in crash), "who is told the number finds the crash"
    record("H8", "400, 403, 404, 500, 503 of the app, behind nginx", "no trace, no version, the request's number")


def test_H8_who_signs_in_too_often_is_told_so_by_every_process_with_the_number(deployment: Deployment) -> None:
    guesser = deployment.visitor()
    token = guesser.csrf_token("accounts/password/reset/")
    fields = {"email": "nobody@example.com", "csrfmiddlewaretoken": token}
    address = f"{deployment.url}accounts/password/reset/"

    def ask() -> Answer:
        return answer(guesser.http.post(address, fields, headers={"Referer": address}, timeout=60))

    tries = [ask() for _ in range(12)]
    # nginx hands requests to the processes in turn: each has seen about half of them.
    after = [ask() for _ in range(4)]

    tried = sum(one.status == 200 for one in tries)
    record("H8", "12 mails for a new password asked for in a row, over two web processes", f"{tried} sent, then 429")
    assert tried <= 5
    judge(deployment, {f"429 {number}": (one, 429) for number, one in enumerate(after)})


def test_H8_every_error_of_nginx_names_the_request_and_no_version(deployment: Deployment) -> None:
    head, end = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", b"\r\n"
    webhook = f"POST /webhooks/snapinspect/{deployment.webhook_secret}/".encode()
    plain = requests.get(f"{deployment.plain}connect/callback/", allow_redirects=False, timeout=30)
    seen = {
        "400, a header of 40 kB": (send(deployment, b"GET /" + head + b"X: " + b"x" * 40_000 + b"\r\n" + end), 400),
        "400, no request": (send(deployment, b"GET / HTTP/x.1\r\n" + end), 400),
        "400, over plain http": (answer(plain), 400),
        "403, health from elsewhere": (send(deployment, b"GET /health/ready" + head + end, source="127.0.0.2"), 403),
        "404": (send(deployment, b"GET /said-by-nginx" + head + end), 404),
        "405": (send(deployment, b"TRACE /" + head + end), 405),
        "413, a form": (send(deployment, b"POST /" + head + b"Content-Length: 9999999\r\n" + end), 413),
        "413, a delivery": (send(deployment, webhook + head + b"Content-Length: 70000\r\n" + end), 413),
        "414": (send(deployment, b"GET /" + b"a" * 40_000 + head + end), 414),
    }
    with deployment.without_web():
        seen["503, the app is away"] = send(deployment, b"GET /" + head + end), 503
        seen["503, for a delivery"] = send(deployment, webhook + head + b"Content-Length: 2\r\n" + end + b"{}"), 503
        refused = [one for one in flood(deployment, b"GET /" + head + end) if one.status != 503]
        seen["429"] = refused[0], 429
    if size(0, 1):  # takes a minute, the time that nginx waits for an answer
        for process in deployment.webs.values():
            os.killpg(process.pid, SIGSTOP)
        try:
            seen["503, the app hangs"] = send(deployment, b"GET /" + head + end), 503
        finally:
            with deployment.without_web():
                pass

    judge(deployment, seen)
    assert {one.status for one in refused} == {429}
    assert all("Retry-After: " in seen[name][0].head for name in seen if name.startswith(("429", "503")))
    assert all("default-src 'none'" in one.head for one, _ in seen.values())
    record(
        "H8", f"{len(seen)} ways to make nginx answer by itself", "no version, the request's number, the right status"
    )

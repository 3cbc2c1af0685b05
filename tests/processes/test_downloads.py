"""Row L4: downloads that nobody reads, or that somebody starts over and over, do not shut the door."""

import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from integrations.calls import limits
from tests.conftest import AppFactory
from tests.support.deliveries import NEW, payload
from tests.support.http_visitor import Visitor
from tests.support.measurements import record
from tests.support.running_app import RunningApp
from tests.support.sizes import size

pytestmark = pytest.mark.processes

DOWNLOADS = 24
ENTRIES = 20_000  # some megabytes: more than the kernel buffers for a reader who does not read
DELIVERIES = size(10, 200)
MAKE_ENTRIES = f"""
INSERT INTO accounts_auditentry (at, customer_id, kind, subject, detail)
WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {ENTRIES})
SELECT CURRENT_TIMESTAMP, accounts_customer.id, 'note', '', '{{"text": "{"x" * 80}"}}' FROM numbers, accounts_customer
RETURNING id
"""
# Without a limit on downloads there is no answer as long as nobody reads them.
MOST_SECONDS = size(30.0, 5.0)


def start_reading(visitor: Visitor, path: str) -> tuple[socket.socket, bytes]:
    """A download whose first bytes were read, and nothing since."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(30)
    reader.connect(("localhost", visitor.app.port))
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in visitor.http.cookies)
    request = f"GET /{path} HTTP/1.1\r\nHost: localhost:{visitor.app.port}\r\nCookie: {cookies}\r\n\r\n"
    reader.sendall(request.encode())
    return reader, reader.recv(12)


def seconds_to_answer(app: RunningApp) -> tuple[list[float], float]:
    """How long each of many deliveries took, and the slowest `/health/live` of as many beside them."""

    def deliver(session: requests.Session, number: int) -> int:
        body = payload(f"Download_{number}")
        return session.post(f"{app.url}webhooks/snapinspect/{NEW}/", json=body, timeout=MOST_SECONDS).status_code

    def live(session: requests.Session, _: int) -> int:
        return session.get(f"{app.url}health/live", timeout=MOST_SECONDS).status_code

    def timed(ask: Callable[[requests.Session, int], int]) -> list[float]:
        """One after the other."""
        seconds = []
        with app.session() as session:
            for number in range(DELIVERIES):
                begun = time.monotonic()
                assert ask(session, number) == requests.codes.ok
                seconds.append(time.monotonic() - begun)
        return seconds

    with ThreadPoolExecutor(2) as pool:
        deliveries, lives = pool.map(timed, [deliver, live])
    return deliveries, max(lives)


def test_L4_downloads_leave_threads_for_webhooks_and_health_checks(new_app: AppFactory) -> None:
    # The log as in production: in detail it costs more than a refused download.
    app = new_app(WEB_WORKERS="1", LOG_LEVEL="INFO")
    app.start_web()
    visitor = app.visitor().sign_up()
    visitor.http.hooks["response"] = []  # the files are not kept for the secret scan
    assert len(app.rows(MAKE_ENTRIES)) == ENTRIES
    path = f"c/{visitor.code}/audit.csv"
    quiet, _ = seconds_to_answer(app)

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        started = list(pool.map(lambda _: start_reading(visitor, path), range(DOWNLOADS)))
    try:
        unread, slowest_life = seconds_to_answer(app)
    finally:
        for reader, _ in started:
            reader.close()
    statuses = [int(head[9:]) for _, head in started]
    assert statuses.count(200) == limits.MAX_DOWNLOADS_EACH
    assert statuses.count(429) == DOWNLOADS - limits.MAX_DOWNLOADS_EACH

    ended = False

    def download_again_and_again(_: int) -> int:
        done = 0
        with app.session() as session:
            session.cookies.update(visitor.http.cookies)
            while not ended:
                done += session.get(app.url + path, timeout=60).status_code == requests.codes.ok
        return done

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        readers = [pool.submit(download_again_and_again, number) for number in range(DOWNLOADS)]
        try:
            read, slowest_life_read = seconds_to_answer(app)
        finally:
            ended = True
        downloaded = sum(reader.result() for reader in readers)

    record(
        "L4",
        f"{DOWNLOADS} parallel downloads of one person from one web process",
        f"deliveries are acknowledged within {max(unread):.2f} s while no file is read (p95 {p95(unread)} ms, without "
        f"downloads {p95(quiet)} ms), within {max(read):.2f} s while {downloaded} files are read (p95 {p95(read)} ms); "
        f"/health/live answers within {max(slowest_life, slowest_life_read):.2f} s",
    )
    assert downloaded > 0


def p95(seconds: list[float]) -> int:
    """Milliseconds."""
    return round(statistics.quantiles(seconds, n=20)[-1] * 1000)

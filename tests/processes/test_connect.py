"""Rows C3, C9, C12, C13, C14, T1, T2 and T3 of the score card, on real gunicorn, worker and stand-in processes."""

import base64
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests

from integrations.snapinspect import authorization
from tests.commands.production import ENVIRONMENT
from tests.conftest import AppFactory
from tests.settings import SENTINEL
from tests.support import secret_scan
from tests.support.measurements import record
from tests.support.running_app import RunningApp
from tests.support.sizes import size
from tests.support.wait import wait_until

pytestmark = pytest.mark.processes

REPLAYS, REPLAY_ROUNDS = 20, size(10, 50)
CONNECTS = size(30, 100)
API_CALLS = size(100, 1000)
KILLS_PER_POINT = size(1, 20)
KILL_POINTS = ["before redeem", "after redeem", "after receive", "after commit", "before answer"]


def travelled(address: str) -> str:
    return parse_qs(urlsplit(address).query)["access_token"][0]


def test_C3_replayed_callbacks_make_one_connection_and_one_exchange_each(running_app: RunningApp) -> None:
    visitor = running_app.visitor().sign_up()
    with ThreadPoolExecutor(REPLAYS) as pool:
        for _ in range(REPLAY_ROUNDS):
            address = running_app.sandbox.decide(visitor.start_connect())
            answers = list(pool.map(lambda _, address=address: visitor.open_callback(address), range(REPLAYS)))
            assert {answer.status_code for answer in answers} == {303}
            assert {answer.headers["Location"] for answer in answers} == {f"/c/{visitor.code}/"}

    wait_until(lambda: visitor.badges() == ["Connected"])
    exchanges = running_app.sandbox.exchanges()
    record("C3", f"the same callback {REPLAYS} times in parallel", f"{exchanges} exchanges in {REPLAY_ROUNDS} rounds")
    assert exchanges == REPLAY_ROUNDS


def test_C9_tokens_of_5_kB_each_connect(running_app: RunningApp) -> None:
    running_app.sandbox.control("POST", "token_settings", {"length": 5000})
    visitor = running_app.visitor().sign_up()
    address = running_app.sandbox.decide(visitor.start_connect())
    assert len(address) > 10_000

    assert visitor.open_callback(address).status_code == 303
    visitor.wait_for("Connected")
    record("C9", "tokens of 5 kB each", "connected")


def test_C9_beyond_the_limit_the_answer_is_a_page_of_ours(running_app: RunningApp) -> None:
    visitor = running_app.visitor().sign_up()
    longer = "x" * (authorization.MAX_QUERY + 1)
    answer = visitor.open_callback(f"{running_app.url}connect/callback/?access_token={longer}")
    assert (answer.status_code, urlsplit(answer.headers["Location"]).path) == (303, "/connect/ended/garbled/")
    assert "We could not read SnapInspect" in visitor.get("connect/ended/garbled/").text


@pytest.mark.parametrize("length", [2 * authorization.MAX_QUERY, 100_000, 500_000])
def test_C9_what_gunicorn_itself_refuses_is_told_in_words(running_app: RunningApp, length: int) -> None:
    answer = requests.get(f"{running_app.url}connect/callback/?access_token={'x' * length}", timeout=30)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (414, "no-store")
    assert "This address is too long" in answer.text and "start again" in answer.text
    assert running_app.visitor().get("").status_code in {200, 302}, "it goes on serving"


@pytest.mark.slow
def test_C12_tokens_that_travelled_in_the_address_are_dead_and_the_new_ones_work(running_app: RunningApp) -> None:
    visitor = running_app.visitor().sign_up()
    in_addresses = []
    for _ in range(CONNECTS):
        address = running_app.sandbox.decide(visitor.start_connect())
        in_addresses.append(travelled(address))
        assert visitor.open_callback(address).status_code == 303
    wait_until(lambda: visitor.badges() == ["Connected"], seconds=120)

    live = {token["token"] for token in running_app.sandbox.tokens() if token["live"] and token["kind"] == "access"}
    dead = sum(not running_app.sandbox.accepts(token) for token in in_addresses)
    working = sum(running_app.sandbox.accepts(token) for token in live)
    record(
        "C12",
        "the tokens of the callback's address are used after the connect",
        f"{dead} of {CONNECTS} dead, {working} new ones work",
    )
    assert dead == CONNECTS
    assert working == len(live) == CONNECTS


@pytest.mark.slow
def test_C13_a_web_process_killed_in_the_callback_leaves_nothing_half_done(new_app: AppFactory) -> None:
    running_app = new_app(WEB_WORKERS="1", WEB_THREADS="4")
    running_app.start_sandbox()
    running_app.start_web("tests.support.kill_points:application", KILL_FOLDER=str(running_app.folder))
    running_app.start_worker()
    visitor = running_app.visitor().sign_up()
    connected = 0
    for point in KILL_POINTS:
        for _ in range(KILLS_PER_POINT):
            address = running_app.sandbox.decide(visitor.start_connect())
            (running_app.folder / "point").write_text(point)
            with pytest.raises(requests.ConnectionError):
                visitor.open_callback(address)
            wait_until(lambda: _is_up(running_app))
            # Either nothing came of it, or a worker finishes it: never a connection without a usable token.
            wait_until(lambda: set(visitor.badges()) <= {"Connected"})
            visitor.connect()
            connected += 1
    tried = len(KILL_POINTS) * KILLS_PER_POINT
    record("C13", "kill -9 of the web process at 5 points", f"{connected} of {tried} connected at the second try")
    # A worker may be replacing the last pair at this moment: what counts is that a usable one remains.
    wait_until(lambda: running_app.sandbox.accepts(_newest_live_token(running_app)))


@pytest.mark.parametrize("browser", ["plain http", "behind a TLS proxy"])
def test_C14_over_plain_http_the_callback_answers_400_and_repeats_nothing(browser: str, production: RunningApp) -> None:
    query = f"access_token={SENTINEL}-a&refresh_token={SENTINEL}-r&token_type=Bearer&state=x"
    headers = {"Host": "app.example.com"}
    if browser == "behind a TLS proxy":
        headers |= {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}

    answer = requests.get(
        f"{production.url}connect/callback/?{query}", headers=headers, allow_redirects=False, timeout=30
    )

    if browser == "plain http":
        assert answer.status_code == 400
        assert "Location" not in answer.headers
    else:
        assert (answer.status_code, answer.headers["Location"]) == (303, "/connect/ended/signed-out/")
    hits = (answer.text + str(answer.headers)).count(SENTINEL)
    record("C14", f"a callback with tokens, {browser}", f"{answer.status_code}, {hits} hits in the answer")
    assert hits == 0


@pytest.fixture(scope="module")
def production(app_factory: AppFactory) -> Iterator[RunningApp]:
    with app_factory(
        **{name: value for name, value in ENVIRONMENT.items() if name not in {"DATABASE_URL", "EMAIL_URL"}},
        TRUSTED_PROXIES="1",
        ALLOW_INSECURE_LOOPBACK="true",
    ) as running_app:
        running_app.manage("collectstatic", "--noinput", "--verbosity", "0")
        running_app.start_web()
        yield running_app


@pytest.mark.slow
def test_T2_a_worker_that_is_aborted_in_the_callback_writes_no_token(new_app: AppFactory) -> None:
    running_app = new_app(WEB_WORKERS="1")
    running_app.start_sandbox()
    patient = running_app.start_web()
    visitor = running_app.visitor().sign_up()
    address = running_app.sandbox.decide(visitor.start_connect())
    running_app.kill(patient)
    running_app.start_web(
        "tests.support.kill_points:application", "--worker-class", "sync", "--threads", "1", "--timeout", "8",
        "--preload",  # or a worker whose start takes so long is aborted, too
        KILL_FOLDER=str(running_app.folder),
    )  # fmt: skip
    (running_app.folder / "point").write_text("hang")

    with suppress(requests.ConnectionError):
        assert visitor.open_callback(address).status_code == 500

    wait_until(lambda: "WORKER TIMEOUT" in running_app.log("web"))
    wait_until(lambda: _is_up(running_app))
    leaks = secret_scan.leaks([running_app.folder])
    record("T2", "a sync worker is aborted in the callback", f"{len(leaks)} files with a token")
    assert leaks == []


def test_T3_with_every_logger_at_debug_no_call_writes_a_token(running_app: RunningApp) -> None:
    visitor = running_app.visitor().sign_up().connect()
    code = visitor.dashboard().split("/panels/account/")[0].rsplit("/", 1)[1]
    live = f"c/{visitor.code}/connections/{code}/panels/account/"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: visitor.get(live).status_code, range(API_CALLS)))

    leaks = secret_scan.leaks([running_app.folder])

    record(
        "T3",
        "every logger at DEBUG",
        f"{len(leaks)} files with a token after {answers.count(200)} calls,"
        f" {running_app.sandbox.exchanges()} exchanges",
    )
    assert answers == [200] * API_CALLS
    assert "DEBUG" in running_app.log("web")
    assert leaks == []


def test_T1_no_secret_stands_in_the_arguments_of_a_process(running_app: RunningApp) -> None:
    for process in running_app.processes:
        assert SENTINEL.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    "spelling",
    [
        lambda secret: secret.encode(),
        lambda secret: quote(f"a b {secret}/+").encode(),
        lambda secret: f'{{"token": "{secret}"}}'.encode(),
        lambda secret: base64.b64encode(f"{secret}-access".encode()),
        lambda secret: base64.b64encode(f"x{secret}-access".encode()),
        lambda secret: base64.b64encode(f"xy{secret}-access".encode()),
        lambda secret: secret.encode().hex().encode(),
    ],
    ids=["raw", "url", "json", "base64 +0", "base64 +1", "base64 +2", "hex"],
)
def test_T1_the_secret_scan_finds_what_is_planted(spelling: Callable[[str], bytes], tmp_path: Path) -> None:
    planted = "Planted0123456789ab"
    (tmp_path / "log").write_bytes(b"\0before " + spelling(planted) + b" after")

    assert secret_scan.leaks([tmp_path], planted) == [f"{tmp_path.name}/log"]


def _is_up(running_app: RunningApp) -> bool:
    try:
        return requests.get(running_app.url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _newest_live_token(running_app: RunningApp) -> str:
    tokens = running_app.sandbox.tokens()
    return str([token["token"] for token in tokens if token["live"] and token["kind"] == "access"][-1])

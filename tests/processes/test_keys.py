"""Row O7: all processes are started with another key than the one that sealed the tokens."""

import json

import pytest

from tests.conftest import AppFactory
from tests.support.measurements import record
from tests.support.wait import wait_until
from tests.tokens.test_keys import OTHER_TEXT

pytestmark = [pytest.mark.slow, pytest.mark.processes]


def test_O7_started_with_a_wrong_key_and_then_with_the_right_one_all_comes_back_by_itself(
    new_app: AppFactory,
) -> None:
    running_app = new_app()
    running_app.start_sandbox()
    web, worker = running_app.start_web(), running_app.start_worker()
    visitor = running_app.visitor().sign_up().connect()
    exchanges = running_app.sandbox.exchanges()
    code = visitor.dashboard().split("/panels/account/")[0].rsplit("/", 1)[1]
    for process in (web, worker):
        running_app.kill(process)

    wrong = {"TOKEN_ENCRYPTION_KEYS": OTHER_TEXT}
    web, worker = running_app.start_web(**wrong), running_app.start("worker", "manage.py", "worker", **wrong)
    said = len(running_app.log("worker"))
    visitor.get(f"c/{visitor.code}/connections/{code}/panels/account/")
    assert visitor.badges() == ["Setup problem"]
    wait_until(lambda: "TOKEN_ENCRYPTION_KEYS" in running_app.log("worker")[said:])
    not_ready = visitor.get("health/ready")
    for process in (web, worker):
        running_app.kill(process)
    lines = running_app.log("worker")[said:].count("TOKEN_ENCRYPTION_KEYS")

    running_app.start_web()
    running_app.start_worker()
    wait_until(lambda: visitor.badges() == ["Connected"], seconds=360)
    ready = visitor.get("health/ready")
    named = json.loads(not_ready.text)["keys"].startswith("not configured: ")
    record(
        "O7",
        "all processes are started with a wrong key, then with the right one",
        f"not ready ({not_ready.status_code}, {'names the key' if named else 'NAMES NO KEY'}), {lines} line of log,"
        f" {running_app.sandbox.exchanges() - exchanges} exchanges; then ready ({ready.status_code}), Connected",
    )
    assert named
    assert (not_ready.status_code, ready.status_code, lines) == (503, 200, 1)
    assert running_app.sandbox.exchanges() == exchanges

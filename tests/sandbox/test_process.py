"""The stand-in as a process: its environment, its output, its end, and its state file."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .client import DEADLINE, REGISTERED, SandboxClient
from .receiver import Receiver

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    **{f"SANDBOX_{name.upper()}": value for name, value in REGISTERED.items()},
    "SANDBOX_APP_NAME": "Connect",
    "SANDBOX_TOKEN_PREFIX": "of-this-test-",
}

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a stand-in on a free port; kills those that still run at the end."""
    started: list[Process] = []

    def run(*arguments: str, environment: dict[str, str] = ENVIRONMENT) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-m", "integrations.sandbox", "--port", "0", *arguments],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=DEADLINE)


def client_of(process: Process) -> SandboxClient:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.fullmatch(r"SnapInspect stand-in on (http://127\.0\.0\.1:\d+/)\n", line)
    assert found, line
    return SandboxClient(found[1])


def test_tokens_accounts_and_inspections_survive_a_kill(start: Start, tmp_path: Path) -> None:
    state_file = ("--state-file", str(tmp_path / "state.sqlite3"))
    process = start(*state_file)
    client = client_of(process)
    with client:
        first = client.grant()
        second = client.exchange(first["refresh_token"]).json()
        added = client.control("POST", "accounts", company=8001)
        made = client.control("POST", "inspections", company=8001, title="Kept")
        personal = client.control("POST", "personal", account=added["account"])["token"]
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE)

    client = client_of(start(*state_file))
    with client:
        assert client.live() == {second["access_token"], second["refresh_token"], personal}
        assert client.get(f"inspections/{made['iInspectionID']}", personal).json() == made
        assert client.get("user", second["access_token"]).json()["iUserID"] == 501
        # It also knows which refresh token was used last.
        client.control("POST", "token_settings", mode="grace")
        assert client.exchange(first["refresh_token"]).status_code == 200


def test_without_a_state_file_a_restart_forgets(start: Start) -> None:
    for _ in range(2):
        process = start()
        client = client_of(process)
        with client:
            assert client.control("GET", "tokens")["tokens"] == []
            client.grant()
        process.terminate()
        process.wait(DEADLINE)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_while_a_client_is_connected_and_prints_one_line(start: Start, ending: signal.Signals) -> None:
    process = start()
    client = client_of(process)
    with client:
        token = client.grant()["access_token"]
        assert token.startswith("of-this-test-")
        assert client.get("user", token).status_code == 200
        process.send_signal(ending)
        assert process.communicate(timeout=DEADLINE) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize(
    "missing", ["SANDBOX_CLIENT_ID", "SANDBOX_CLIENT_SECRET", "SANDBOX_REDIRECT_URI", "SANDBOX_APP_NAME"]
)
def test_a_missing_setting_is_named(start: Start, missing: str) -> None:
    process = start(environment={name: value for name, value in ENVIRONMENT.items() if name != missing})
    output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output) == (2, "")
    assert errors == f"error: the environment variable {missing} is not set\n"


def test_a_webhook_url_that_the_vendor_would_not_accept_is_refused(start: Start) -> None:
    process = start(environment=ENVIRONMENT | {"SANDBOX_WEBHOOK_URL": "http://elsewhere.example/secret-part/"})
    output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output) == (2, "")
    assert errors == "error: SANDBOX_WEBHOOK_URL must be https, or http on this machine\n"


def test_it_ends_cleanly_while_one_webhook_hangs_and_another_waits_for_its_retry(
    start: Start, receiver: Receiver
) -> None:
    receiver.statuses = [500]
    process = start(environment=ENVIRONMENT | {"SANDBOX_WEBHOOK_URL": receiver.url})
    client = client_of(process)
    with client:
        client.control("POST", "inspections", company=6847)
        receiver.wait_for(1)
        receiver.gate.clear()
        client.control("POST", "inspections", company=6847)
        receiver.wait_for(2)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=DEADLINE) == ("", "")
    assert process.returncode == 0


def test_a_taken_port_is_reported_in_one_line(start: Start) -> None:
    client = client_of(start())
    with client:
        taken = client.url.rstrip("/").rpartition(":")[2]
        process = start("--port", taken)
        _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert errors.startswith(f"error: cannot listen on 127.0.0.1:{taken}:")
    assert errors.count("\n") == 1


def test_an_unusable_state_file_is_reported_in_one_line(start: Start, tmp_path: Path) -> None:
    process = start("--state-file", str(tmp_path / "missing" / "state.sqlite3"))
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert errors.startswith("error: cannot use the state file ")
    assert errors.count("\n") == 1

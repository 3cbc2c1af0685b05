"""Commands started with the settings of production, and what a refused start prints."""

import atexit
import json
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.commands.production import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
MANAGE = ("manage.py",)
GUNICORN = ("-m", "gunicorn", "--config", "gunicorn.conf.py", "--check-config")
PASSWORD = "in-an-address"


def _environment(settings: dict[str, str]) -> dict[str, str]:
    """Of production, but for these settings. An empty one is a missing one, whatever `.env` says."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **ENVIRONMENT, **settings}


def start_new(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command by a new Python, as people do."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env=_environment(settings), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def start(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as `start_new` does, in a twentieth of the time: in a fork of a Python that has its packages."""
    server = _fork_server()
    assert server.stdin
    assert server.stdout
    with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
        prints = {"output": output.name, "errors": errors.name}
        asked = {"command": command, "environment": _environment(settings), **prints}
        print(json.dumps(asked), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        assert status >= 0, f"ended by signal {-status}, or did not end"
        return subprocess.CompletedProcess(command, status, output.read(), errors.read())


@cache
def _fork_server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forked_commands"],
        cwd=ROOT, env=_environment({}), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    atexit.register(server.communicate)
    return server


def assert_one_line_about(name: str, finished: subprocess.CompletedProcess[str]) -> None:
    said = (finished.stderr + finished.stdout).strip()
    assert finished.returncode != 0, said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1, said
    assert re.search(rf"\b{name}\b", said), said
    assert PASSWORD not in said

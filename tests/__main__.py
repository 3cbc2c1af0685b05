"""`make test` and `make test-slow`: the suite on SQLite and on PostgreSQL at the same time.

Some processes run what needs no other process, and some what starts processes or Chromium: the first keep the
processors busy while the second wait. `--slow` runs the tests that are marked `slow` instead of all others, and on
PostgreSQL those of pages, mails, the API and calls.
Other arguments are handed to pytest. A program that is missing here is named in one line; in CI that is a failure.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import IO, NamedTuple

import pytest

from tests.support import postgres


class Part(NamedTuple):
    """A part of the suite with a database of its own: the file's name on SQLite, a new server on PostgreSQL."""

    name: str
    marks: str
    file: str = ""
    slow: str = "slow"  # what `make test` leaves to `make test-slow`


# What one database is enough for runs on SQLite, but for the processes that come with a PostgreSQL of their own.
PARTS = [
    Part("SQLite", "not browser and not processes and not interface", "tests.sqlite3"),
    Part("SQLite, interface", "not browser and not processes and interface", "interface.sqlite3"),
    Part("PostgreSQL", "not browser and not processes and not once", slow="slow or interface"),
    Part("SQLite, processes and Chromium", "browser or (processes and not once)", "processes.sqlite3"),
    Part("PostgreSQL, processes", "processes and not browser"),
]


def main() -> int:
    arguments = sys.argv[1:]
    slow = "--slow" in arguments
    if slow:
        arguments.remove("--slow")
    missing = missing_programs()
    parts = PARTS
    if postgres.binaries() is None:
        missing.append("SKIPPED the suite on PostgreSQL: it is missing (apt-get install postgresql)")
        parts = [part for part in PARTS if part.file]
    with ExitStack() as opened:
        running: list[tuple[Part, subprocess.Popen[bytes], IO[bytes] | None]] = []
        for part in parts:
            url = f"sqlite:///var/{part.file}" if part.file else opened.enter_context(postgres.server())
            marks = f"({part.marks}) and {'' if slow else 'not '}({part.slow})"
            # The first is followed as it goes on.
            output: IO[bytes] | None = opened.enter_context(tempfile.TemporaryFile()) if running else None
            running.append((part, _start([*arguments, "-m", marks], url, output), output))
        results = []
        for part, process, output in running:
            print(f"--- {part.name}", flush=True)
            results.append(process.wait())
            if output:
                output.seek(0)
                shutil.copyfileobj(output, sys.stdout.buffer)
                sys.stdout.flush()
    for line in missing:
        print(line)
    # What the arguments choose may be in one part alone.
    passed = pytest.ExitCode.OK in results and set(results) <= {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    return int(not passed or bool(missing and os.environ.get("CI")))


def missing_programs() -> list[str]:
    missing = []
    if not (shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")):
        missing.append("SKIPPED the browser tests: Chromium is missing (apt-get install chromium)")
    if not shutil.which("nginx"):
        missing.append("SKIPPED the tests of deploy/: nginx is missing (apt-get install nginx-light)")
    if not shutil.which("systemd-analyze"):
        missing.append("SKIPPED the check of the systemd units: systemd-analyze is missing (apt-get install systemd)")
    if not (shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")):
        missing.append("SKIPPED the test behind PgBouncer: it is missing (apt-get install pgbouncer)")
    if not shutil.which("curl"):
        missing.append("SKIPPED the test of the API's documentation: curl is missing (apt-get install curl)")
    if not shutil.which("node"):
        missing.append("SKIPPED the JavaScript of docs/webhooks.md: Node.js is missing (apt-get install nodejs)")
    if not shutil.which("strace"):
        missing.append("SKIPPED the proof that fsync comes before the 200: strace is missing (apt-get install strace)")
    if not _has_full_history():
        missing.append(
            "SKIPPED the version before in the test of an upgrade: the history is cut off (git fetch --unshallow)"
        )
    return missing


def _start(arguments: list[str], database_url: str, output: IO[bytes] | None = None) -> "subprocess.Popen[bytes]":
    # Bytecode is kept whatever the environment says: pytest takes five seconds to rewrite all asserts.
    environment = os.environ | {"DATABASE_URL": database_url, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def _has_full_history() -> bool:
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == "false"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())

"""`make test`: the whole suite on SQLite, then everything that touches data again on PostgreSQL.

Arguments are handed to pytest. What cannot run here is said in one line; in CI that is a failure.
"""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support import postgres


def main() -> int:
    arguments = sys.argv[1:]
    missing = []
    if not (shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")):
        missing.append("SKIPPED the browser tests: Chromium is missing (apt-get install chromium)")
    if not shutil.which("nginx"):
        missing.append("SKIPPED the tests of deploy/: nginx is missing (apt-get install nginx-light)")
    if not shutil.which("systemd-analyze"):
        missing.append("SKIPPED the check of the systemd units: systemd-analyze is missing (apt-get install systemd)")
    if not shutil.which("redis-server"):
        missing.append("SKIPPED the tests with Redis: it is missing (apt-get install redis-server)")
    if not shutil.which("strace"):
        missing.append("SKIPPED the proof that fsync comes before the 200: strace is missing (apt-get install strace)")
    if not _knows_its_history():
        missing.append(
            "SKIPPED the version before in the test of an upgrade: the history is cut off (git fetch --unshallow)"
        )
    results = [_pytest("SQLite", arguments, DATABASE_URL="sqlite:///var/tests.sqlite3")]
    if postgres.binaries() is None:
        missing.append("SKIPPED the suite on PostgreSQL: it is missing (apt-get install postgresql)")
    else:
        with postgres.server() as url:
            results.append(_pytest("PostgreSQL", [*arguments, "-m", "not once and not browser"], DATABASE_URL=url))
    for line in missing:
        print(line)
    return max(results) or int(bool(missing and os.environ.get("CI")))


def _pytest(database: str, arguments: list[str], **environment: str) -> int:
    """The exit code of a run. What failed beside other tests gets a second try alone, and is named loudly for it."""
    print(f"--- {database}", flush=True)
    command, together = [sys.executable, "-m", "pytest"], ["-n", "2"]
    first = _run([*command, *together, *arguments], environment)
    if first != pytest.ExitCode.TESTS_FAILED:
        return first
    print(f"--- {database}: WHAT FAILED ABOVE GETS A SECOND TRY, ALONE. Passing it now means: it is sensitive to load.")
    return _run([*command, "--last-failed", "-v", *arguments], environment)


def _knows_its_history() -> bool:
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == "false"
    except FileNotFoundError:
        return False


def _run(command: list[str], environment: dict[str, str]) -> int:
    return subprocess.run(command, env=os.environ | environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

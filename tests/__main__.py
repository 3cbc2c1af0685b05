"""`make test` and `make test-slow`: the suite on SQLite and on PostgreSQL at the same time.

Some processes run what needs no other process, and some what starts processes or Chromium: the first keep the
processors busy while the second wait. `--slow` runs the tests that are marked `slow` instead of all others, and on
PostgreSQL those of pages, mails, the API and calls.
Other options are handed to pytest. A program that is missing here is named in one line; in CI that is a failure.

The parts run side by side on few processors. One or two red tests of a part are tried again when nothing else runs.
What is green then may have failed by chance, by the order of the tests or by a race: it is named as UNSTABLE, and is
mended like any other fault.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from tests.support import outcomes, postgres

AT_ONCE = 6
# More red tests than these in one part are no accident.
TRIED_AGAIN = 2
_FILES = sorted(Path("tests").glob("*/test_*.py"))
# What pages, mails and the API show is the same on both databases.
INTERFACE = {"accounts", "api", "calls", "notifications", "pages"}
PROCESSES = {"processes"}
CHROMIUM = {"browser"}


class Part(NamedTuple):
    """A part of the suite with a database of its own: the file's name on SQLite, a new server on PostgreSQL.

    files: those of these folders; `half` takes every second one.
    """

    name: str
    files: Sequence[Path]
    marks: str
    file: str = ""

    @property
    def cache(self) -> Path:
        return Path("var/pytest") / re.sub(r"\W+", "-", self.name)

    def half(self, number: int) -> "Part":
        """number: 0 or 1."""
        name, file = f"{self.name}, {number + 1} of 2", self.file and f"{number}-{self.file}"
        return self._replace(name=name, files=self.files[number::2], file=file)


def in_folders(folders: set[str]) -> list[Path]:
    return [file for file in _FILES if file.parent.name in folders]


def parts(*, slow: bool, both: bool = True) -> list[Part]:
    """Those that take longest first. both: PostgreSQL is here, too.

    What one database is enough for (`once`) runs on SQLite; of the processes beside PostgreSQL.
    """
    kind = "slow" if slow else "not slow"
    inner = {file.parent.name for file in _FILES} - INTERFACE - PROCESSES - CHROMIUM
    on_sqlite = Part("SQLite", in_folders(inner | INTERFACE), kind, "tests.sqlite3")
    chromium = Part("SQLite, Chromium", in_folders(CHROMIUM), kind, "chromium.sqlite3")
    of_processes = f"{kind} and not once" if both else kind
    processes = Part("SQLite, processes", in_folders(PROCESSES), of_processes, "processes.sqlite3")
    if not both:
        return [on_sqlite, processes, chromium]
    on_postgresql = Part("PostgreSQL", in_folders(inner), "not slow and not interface and not once")
    processes_on_postgresql = Part("PostgreSQL, processes", in_folders(PROCESSES), kind)
    if not slow:
        return [on_postgresql, on_sqlite.half(0), on_sqlite.half(1), processes_on_postgresql, processes, chromium]
    on_postgresql = Part("PostgreSQL", in_folders(inner | INTERFACE), "(slow or interface) and not once")
    return [
        processes, processes_on_postgresql.half(0), processes_on_postgresql.half(1), chromium,
        on_postgresql.half(0), on_postgresql.half(1), on_sqlite,
    ]  # fmt: skip


def main() -> int:
    arguments = sys.argv[1:]
    slow = "--slow" in arguments
    if slow:
        arguments.remove("--slow")
    if any(Path(argument.partition("::")[0]).exists() for argument in arguments):
        sys.exit("This runs all files. For some of them: python -m pytest.")
    missing = missing_programs()
    both = postgres.binaries() is not None
    if not both:
        missing.append("SKIPPED the suite on PostgreSQL: it is missing (apt-get install postgresql)")
    chosen = parts(slow=slow, both=both)
    with ExitStack() as opened:
        # The first is followed as it goes on.
        outputs = [None, *(opened.enter_context(tempfile.TemporaryFile()) for _ in chosen[1:])]
        pool = opened.enter_context(ThreadPoolExecutor(AT_ONCE))
        running = [pool.submit(run, part, arguments, output) for part, output in zip(chosen, outputs, strict=True)]
        results = []
        for part, result, output in zip(chosen, running, outputs, strict=True):
            print(f"--- {part.name}", flush=True)
            results.append(result.result())
            if output:
                output.seek(0)
                shutil.copyfileobj(output, sys.stdout.buffer)
                sys.stdout.flush()
    for line in (*missing, *(f"UNSTABLE {test}" for test in try_again(chosen, results, arguments))):
        print(line)
    # What the arguments choose may be in one part alone.
    passed = pytest.ExitCode.OK in results and set(results) <= {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
    return int(not passed or bool(missing and os.environ.get("CI")))


def try_again(chosen: list[Part], results: list[int], arguments: list[str]) -> list[str]:
    """Puts the result of a second try in the place of the first; returns what was green at the second only."""
    unstable = []
    for number, part in enumerate(chosen):
        red = outcomes.read(part.cache).may_be_tried_again if results[number] == pytest.ExitCode.TESTS_FAILED else []
        if 0 < len(red) <= TRIED_AGAIN:
            print(f"--- {part.name}, again by itself: {' '.join(red)}", flush=True)
            again = run(part, [*arguments, "--randomly-seed=last"], None, only=red)
            # Skipped, or gone, is not green.
            if again == pytest.ExitCode.OK and set(outcomes.read(part.cache).passed) == set(red):
                results[number] = pytest.ExitCode.OK
                unstable += red
    return unstable


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


def run(part: Part, arguments: list[str], output: IO[bytes] | None, *, only: Sequence[str] = ()) -> int:
    """pytest's exit code. only: these tests instead of all of the part's."""
    if not only:
        shutil.rmtree(part.cache, ignore_errors=True)
    with ExitStack() as opened:
        url = f"sqlite:///var/{part.file}" if part.file else opened.enter_context(postgres.server())
        # Bytecode is kept whatever the environment says: pytest takes five seconds to rewrite all asserts.
        environment = os.environ | {"DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": ""}
        options = ["-p", "tests.support.outcomes", "-o", f"cache_dir={part.cache}", *arguments, "-m", part.marks]
        command = [sys.executable, "-m", "pytest", *options, *(only or map(str, part.files))]
        return subprocess.run(command, env=environment, stdout=output, stderr=output, check=False).returncode


def _has_full_history() -> bool:
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == "false"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())

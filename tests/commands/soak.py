"""`make soak`: the rows of the score card at their full size, on both databases, and their figures as a table.

`make soak ROWS="R1 R3"` runs only these, `DATABASES=sqlite` on one database only; what other rows have shown before
stays in the table: their figures are kept in docs/figures/, with the commit that they were measured on. All of it takes
some hours.
"""

import fcntl
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.support import postgres

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "var" / "soak"
SHOWN = ROOT / "docs" / "figures"
TABLE = ROOT / "docs" / "reliability.md"
DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
ROWS = re.compile(r"::test_((?:[A-Z]+\d+_)+)")

INTRODUCTION = """# What was injected, and what was observed

Written by `make soak`, not by hand: every line is a test that injects the fault for real (processes are killed by
`kill -9`, frozen by SIGSTOP, lose their database) and prints its figure. `make test-slow` runs most
of them in a short form, `make test` the others. SnapInspect is played by the stand-in of this repository; *strict* says
that it refuses a refresh token that was used, *grace* that it honours the last one once more.
"""

# What follows this heading is written by hand, and kept.
BY_HAND = "\n## Attacks\n"

Results = dict[str, dict[str, Any]]


def main() -> int:
    rows = os.environ.get("ROWS", "").split()
    wanted = os.environ.get("DATABASES", " ".join(DATABASES)).split()
    for folder in (LOGS, SHOWN):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        urls = {"sqlite": "sqlite:///var/tests.sqlite3"} if "sqlite" in wanted else {}
        if "postgresql" in wanted and postgres.binaries() is None:
            print("SKIPPED PostgreSQL: it is missing (apt-get install postgresql)")
        elif "postgresql" in wanted:
            urls["postgresql"] = opened.enter_context(postgres.server())
        # At the same time, as in `make test`.
        with ThreadPoolExecutor() as pool:
            failed = sum(pool.map(lambda database: run(database, rows, urls[database]), urls))
    _, heading, by_hand = TABLE.read_text().partition(BY_HAND)
    TABLE.write_text(table({database: results(database) for database in DATABASES}) + heading + by_hand)
    print(f"Written: {TABLE.relative_to(ROOT)}")
    return int(failed > 0)


def run(database: str, rows: list[str], url: str) -> int:
    """Runs the tests of these rows, or of all, and keeps what they showed; returns how many failed.

    What fails beside other tests is tried once more, alone, and the table says so. What tests print when they fail
    stays in var/soak/<database>.log. Several runs may go on side by side: what the others keep is not touched.
    """
    print(f"--- {DATABASES[database]}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        figures, first, second = (Path(folder, name) for name in ("figures.jsonl", "first.xml", "second.xml"))
        environment = os.environ | {"DATABASE_URL": url, "SOAK": "1", "FIGURES": str(figures)}
        wanted = " or ".join(f"{row}_" for row in rows) or "test_"
        _pytest(database, environment, first, ["-k", wanted, "-m", "not browser", "tests"])
        if failed := [case for case, bad in cases(first) if bad]:
            print(f"--- {DATABASES[database]}: {len(failed)} FAILED, AND GET A SECOND TRY, ALONE", flush=True)
            _pytest(database, environment, second, [node(case) for case in failed])
        shown, lost = gather(figures, [first, second], database, engine(database, url))
    with (LOGS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        every = json.dumps(results(database) | shown, indent=1, sort_keys=True)
        (SHOWN / f"{database}.json").write_text(f"{every}\n")
    return lost


def _pytest(database: str, environment: dict[str, str], report: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-v", f"--junitxml={report}", *arguments]
    with (LOGS / f"{database}.log").open("a") as log:
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert running.stdout
        for line in running.stdout:
            print(f"{DATABASES[database]}: {line}", end="", flush=True)
            log.write(line)
        running.wait()


def cases(report: Path) -> list[tuple[ElementTree.Element, bool]]:
    """The tests that ran, each with whether it failed."""
    if not report.exists():
        return []
    return [
        (case, case.find("failure") is not None or case.find("error") is not None)
        for case in ElementTree.parse(report).iter("testcase")
        if case.find("skipped") is None
    ]


def node(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"


def gather(figures: Path, reports: list[Path], database: str, software: str) -> tuple[Results, int]:
    """What each row has shown, and how many tests failed whenever they were tried.

    A figure that was measured on another database than this run's is left to the other run.
    """
    ended = {node(case): "failed" if bad else "passed" for case, bad in cases(reports[0])}
    for case, bad in cases(reports[1]):
        ended[node(case)] = "failed" if bad else "passed_alone"
    tests: dict[str, Counter[str]] = {}
    for name, how in ended.items():
        for row in rows_of(name):
            tests.setdefault(row, Counter())[how] += 1
    lines = figures.read_text().splitlines() if figures.exists() else []
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    seen: Results = {
        row: {**counted, "figures": {}, "date": today, "commit": commit(), "software": software}
        for row, counted in tests.items()
    }
    for figure in map(json.loads, lines):
        if figure["row"] in seen and figure["database"] == database:
            seen[figure["row"]]["figures"][figure["injected"]] = figure["observed"]
    return seen, sum(how == "failed" for how in ended.values())


def rows_of(test: str) -> list[str]:
    """The rows of the score card that a test's name begins with."""
    named = ROWS.search(test)
    return named[1].strip("_").split("_") if named else []


def results(database: str) -> Results:
    shown = SHOWN / f"{database}.json"
    found: Results = json.loads(shown.read_text()) if shown.exists() else {}
    return found


def commit() -> str:
    """What was tested, as git names it; empty outside a checkout."""
    finished = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return finished.stdout.strip()


def engine(database: str, url: str) -> str:
    """The versions that a run was made with."""
    server = f"SQLite {sqlite3.sqlite_version}"
    if database == "postgresql":
        import psycopg  # noqa: PLC0415 (an optional part)

        with psycopg.connect(url) as connection:
            server = f"PostgreSQL {connection.info.server_version // 10000}.{connection.info.server_version % 10000}"
    return f"{server}, Python {platform.python_version()}, Django {version('django')}"


def table(by_database: dict[str, Results]) -> str:
    rows = sorted({row for shown in by_database.values() for row in shown}, key=order)
    lines = [INTRODUCTION, f"Machine: {machine()}.", ""]
    lines += [f"- {DATABASES[name]}: {versions(shown)}" for name, shown in by_database.items() if shown]
    lines += ["", "| row | injected | on SQLite | on PostgreSQL | measured |", "|---|---|---|---|---|"]
    for row in rows:
        shown = [by_database[name].get(row) for name in DATABASES]
        when = " / ".join(dict.fromkeys(f"{one['date']} {one.get('commit', '')}".strip() for one in shown if one))
        injected = list(dict.fromkeys(words for one in shown if one for words in sorted(one["figures"])))
        for words in injected:
            cells = [one["figures"].get(words, "not measured") if one else "" for one in shown]
            lines.append(f"| {row} | {escape(words)} | {escape(cells[0])} | {escape(cells[1])} | {when} |")
        lines.append(f"| {row} | *tests of this row* | {ended(shown[0])} | {ended(shown[1])} | {when} |")
    return "\n".join(lines) + "\n"


def order(row: str) -> tuple[int, int]:
    letter, number = re.fullmatch(r"([A-Z]+)(\d+)", row).groups()  # type: ignore[union-attr]
    return "CTRAWMHOLK".find(letter), int(number)


def ended(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    alone, failed = one.get("passed_alone", 0), one.get("failed", 0)
    words = f"{one.get('passed', 0) + alone} passed" + (f", {alone} of them at a second try, alone" if alone else "")
    return words + (f", **{failed} FAILED**" if failed else "")


def escape(text: str) -> str:
    return text.replace("|", "\\|")


def versions(shown: Results) -> str:
    return "; ".join(sorted({one["software"] for one in shown.values()}))


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} processor cores, {memory:.0f} GiB of memory, {platform.system()} on {platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())

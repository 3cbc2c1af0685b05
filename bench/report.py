"""The table of benchmarks: on the terminal, as JSON, and in docs/performance.md with the last two runs."""

import json
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from bench.deployment import ROOT
from bench.result import Result
from tests.commands import soak

PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "docs" / "figures" / "performance.json"
RUNS_KEPT = 2
# Only what stands between these lines of the page is generated.
BEGIN, END = "<!-- written by make bench -->\n", "<!-- until here -->"

Run = dict[str, Any]


def run_of(results: list[Result], *, commit: str, minutes: float, load: float, postgresql: str) -> Run:
    """What is kept of a run. `commit` and `load` (load average) are from its start, `postgresql` is a URL."""
    software = [soak.engine("postgresql", postgresql), f"SQLite {sqlite3.sqlite_version}"]
    software += [f"{name} {version(name)}" for name in ("gunicorn", "psycopg", "requests", "urllib3")]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit,
        "minutes": round(minutes, 1),
        "software": ", ".join(software),
        "machine": soak.machine(),
        "load": round(load, 1),
        "results": [result.as_json() for result in results],
    }


def stored_runs() -> list[Run]:
    """The last runs, newest first."""
    runs: list[Run] = json.loads(FIGURES.read_text()) if FIGURES.exists() else []
    return runs


def store(run: Run) -> None:
    """Writes the figures and the page with this run and the one before it."""
    runs = [run, *stored_runs()][:RUNS_KEPT]
    FIGURES.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(map(table, runs)) + END + after)


def table(run: Run) -> str:
    rows = [
        f"### {run['date']}, commit {run['commit']}",
        "",
        f"{run['software']}. {run['machine']}; load average before it began: {run['load']}."
        f" It took {run['minutes']} minutes.",
        "",
        "| path | reference | product | ratio | of processor time | target | |",
        "|---|---|---|---:|---:|---|---|",
    ]
    return "\n".join([*rows, *(_row(Result.from_json(result)) for result in run["results"])]) + "\n"


def _row(result: Result) -> str:
    ratio, processor = (
        f"{result.figures[name]:.2f}" if name in result.figures else "" for name in ("ratio", "processor ratio")
    )
    targets = ", ".join(
        str(target) if target.figure == "ratio" else f"{target} ({result.figures[target.figure]:,.4g})"
        for target in result.targets
    )
    verdict = "" if not result.targets else "**missed**" if result.missed else "met"
    return f"| {result.path} | {result.reference} | {result.product} | {ratio} | {processor} | {targets} | {verdict} |"


def terminal_line(result: Result) -> str:
    ratio = f"  ratio {result.figures['ratio']:.2f}" if "ratio" in result.figures else ""
    if "processor ratio" in result.figures:
        ratio += f" (of processor time {result.figures['processor ratio']:.2f})"
    missed = f"  MISSED: {', '.join(map(str, result.missed))}" if result.missed else ""
    return f"{result.path:58} {result.reference:38} {result.product}{ratio}{missed}"

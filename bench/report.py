"""The table: on the terminal, as JSON for the runs to come, and in docs/performance.md with the last two runs."""

import json
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from bench.deployment import ROOT
from bench.result import Line
from tests.commands import soak

PAGE = ROOT / "docs" / "performance.md"
KEPT = ROOT / "docs" / "figures" / "performance.json"
RUNS_KEPT = 2
# What stands between these is written by the command; all else on the page is by hand, and stays.
BEGINS, ENDS = "<!-- written by make bench -->\n", "<!-- until here -->"

Run = dict[str, Any]


def as_run(lines: list[Line], *, commit: str, minutes: float, load: float, postgresql: str) -> Run:
    """`commit` and `load` (average) are those that it began with."""
    software = [soak.engine("postgresql", postgresql), f"SQLite {sqlite3.sqlite_version}"]
    software += [f"{name} {version(name)}" for name in ("gunicorn", "psycopg", "requests", "urllib3")]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit,
        "minutes": round(minutes, 1),
        "software": ", ".join(software),
        "machine": soak.machine(),
        "load": round(load, 1),
        "lines": [line.as_json() for line in lines],
    }


def kept() -> list[Run]:
    """The last runs, the newest first."""
    runs: list[Run] = json.loads(KEPT.read_text()) if KEPT.exists() else []
    return runs


def keep(run: Run) -> None:
    """Writes the page and the figures anew, with this run and the one before it."""
    runs = [run, *kept()][:RUNS_KEPT]
    KEPT.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n")
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGINS)
    _, _, tail = rest.partition(ENDS)
    PAGE.write_text(head + BEGINS + "\n" + "\n".join(map(table, runs)) + ENDS + tail)


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
    return "\n".join([*rows, *(_row(Line.from_json(line)) for line in run["lines"])]) + "\n"


def _row(line: Line) -> str:
    ratio, processor = (f"{line.figures[name]:.2f}" if name in line.figures else "" for name in ("ratio", "processor"))
    wanted = ", ".join(
        str(target) if target.figure in {"ratio"} else f"{target} ({line.figures[target.figure]:,.4g})"
        for target in line.targets
    )
    met = "" if not line.targets else "**missed**" if line.missed else "met"
    return f"| {line.path} | {line.theirs} | {line.ours} | {ratio} | {processor} | {wanted} | {met} |"


def spoken(line: Line) -> str:
    """A line for the terminal, as soon as it is known."""
    ratio = f"  ratio {line.figures['ratio']:.2f}" if "ratio" in line.figures else ""
    if "processor" in line.figures:
        ratio += f" (of processor time {line.figures['processor']:.2f})"
    missed = f"  MISSED: {', '.join(map(str, line.missed))}" if line.missed else ""
    return f"{line.path:58} {line.theirs:38} {line.ours}{ratio}{missed}"

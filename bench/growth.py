"""`make growth`: what a million events cost, as ratios against a thousand, measured in turn on the same machine.

A small and a large database are filled by `manage.py seed`, and a process is started for each (bench.growth_probes).
In each round both are asked for everything, one right after the other, so that other load on the machine affects both;
the result is the median of the rounds' ratios. Writes docs/growth.md and docs/figures/growth.json.

`--customers`, `--events`: of the large database. `--sqlite`: on SQLite, with as many events as suit it.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from tqdm import tqdm

from tests.support import postgres

ROOT = Path(__file__).resolve().parent.parent
PAGE, FIGURES = ROOT / "docs" / "growth.md", ROOT / "docs" / "figures" / "growth.json"
# Customers and events.
SMALL = (100, 1000)
LARGE_ON_POSTGRESQL = (100_000, 1_000_000)
LARGE_ON_SQLITE = (10_000, 100_000)
TARGET = 1.3
# Tables of which a query reads more rows than this without an index are named. The admin counts up to half of it.
MANY_ROWS = 20_000
# These read a whole column of a table and have a table of their own.
FULL_COLUMN = ("date hierarchy: ", "search: ")


INTRODUCTION = """# What growth costs

Written by `make growth`, not by hand: a small and a large database from `manage.py seed`, each with a process that
measures it. In each round both are asked for everything, one right after the other; the ratio is the median of the
rounds' own ratios, so that other load on the machine affects both. Milliseconds depend on that machine and hour; the
ratio is what counts, and the target is at most {target}. *The large customer* has a fifth of all events and eight
connections, so its own rows grow with the database; pages without that word are those of a small customer.

Pages are requested in the measuring process (Django's test client), lists of the admin without their date hierarchy
and without a search: those have a table of their own below. A batch of `prune` is rolled back.
"""
FULL_COLUMN_TEXT = """## What reads a whole column

Date hierarchies of the admin look for the first and the last day of a column, and its search boxes for a part of a
name: both read the whole table. Tables of millions (events, deliveries, the audit trail) have neither: their search
box takes whole codes and IDs, from an index.
"""
SCANS_TEXT = """## Plans

For every query behind these rows PostgreSQL showed its plan (`EXPLAIN ANALYZE`). Without an index it read more than
{many_rows:,} rows of a table only here:

"""
REASONS = """## What may be over the target, and why

- Pages that show more rows in the large database, where the small one has less than a page (of failed events, a handful
  against fifty): the last column says how many. Their queries read as many rows as a page has, which tests enforce.
- The large customer's dashboard counts that customer's own events of thirty days, from an index.
- The sweep, and what `/health/ready` reports as waiting: both read the events and connections that are due and nothing
  else, and in the large database a thousand times as many are.
- The operations page counts rows of each kind, up to 10,000.
- `prune`: events of disconnected connections are looked for connection by connection.
"""
REASONS_ON_SQLITE = """## What is over the target on SQLite, and why

- The sweep reads the table of deliveries twice: SQLite does not use the index of the unmatched ones. It is a tenth of a
  second, every few seconds.
- The operations page and `/health/ready` count row by row. Pages show more rows, as above; those of one inspection read
  along a connection's events.
"""
MEMORY_TEXT = """## Memory

By how much the work raised the peak memory of its process. All of it is done in batches.

| | rows | seconds | MiB more, at the small size | MiB more, at the large size |
|---|---:|---:|---:|---:|
"""


@dataclass(frozen=True)
class Measurement:
    """Medians in milliseconds. `rows_shown`: table rows of the page, small and large. `scans`: see MANY_ROWS."""

    name: str
    small: float
    large: float
    ratio: float
    rows_shown: tuple[int, int]
    scans: list[str]


class Prober:
    """The process that measures one database."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.growth_probes"],
            cwd=ROOT, env=environment(url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.offers = self._answer()

    def ask(self, method: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        print(json.dumps([method, *arguments]), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The measuring process has ended; its error stands above.")
        return json.loads(line)

    def stop(self) -> None:
        self._process.communicate()


def environment(url: str) -> dict[str, str]:
    """Settings for development with this database, and nothing of this machine's own."""
    return {
        **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}},
        "DEBUG": "true",
        "DATABASE_URL": url,
        "SNAPINSPECT_CLIENT_ID": "growth",
        "SNAPINSPECT_CLIENT_SECRET": "growth",
        "SNAPINSPECT_INSPECTION_PATH": "inspections/{inspection_id}",
        "SNAPINSPECT_CHANGES_PATH": "inspections?since={since}",
        "LOG_LEVEL": "ERROR",
    }


@contextmanager
def databases(large: tuple[int, int], *, sqlite: bool) -> Iterator[tuple[str, str]]:
    """The URLs of the small and of the large database, filled."""
    with ExitStack() as stack:
        if sqlite:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            small_url, large_url = (f"sqlite:///{folder}/{name}.sqlite3" for name in ("small", "large"))
        else:
            server = stack.enter_context(postgres.server("-c", "shared_buffers=512MB"))
            small_url, large_url = (f"{server.rsplit('/', 1)[0]}/{name}" for name in ("small", "large"))
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute("CREATE DATABASE small")
                connection.execute("CREATE DATABASE large")
        fill(small_url, *SMALL)
        fill(large_url, *large)
        yield small_url, large_url


def fill(url: str, customers: int, events: int) -> None:
    for command in (
        ["migrate", "--verbosity", "0"],
        ["createcachetable"],
        ["seed", "--customers", str(customers), "--events", str(events)],
    ):
        subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment(url), check=True)
    if url.startswith("postgres"):
        # Autovacuum would do it some minutes later.
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def measure(small_url: str, large_url: str, *, rounds: int, limit: int) -> tuple[list[Measurement], dict[str, Any]]:
    """Measures everything; `limit` is the number of rows that a batch job stops at."""
    small, large = Prober(small_url), Prober(large_url)
    names: list[str] = small.offers["probes"]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    rows_shown: dict[str, tuple[int, int]] = {}
    for number in tqdm(range(-1, rounds), desc="rounds"):
        for name in names:
            order = (small, large) if number % 2 else (large, small)
            answers = {prober: prober.ask("time", name) for prober in order}
            (of_small, small_rows), (of_large, large_rows) = answers[small], answers[large]
            rows_shown[name] = small_rows, large_rows
            if number >= 0:  # the first round is a warm-up
                seconds[name].append((of_small, of_large))
    measurements = [
        Measurement(
            name,
            1000 * median(of_small for of_small, _ in pairs),
            1000 * median(of_large for _, of_large in pairs),
            median(of_large / of_small for of_small, of_large in pairs),
            rows_shown[name],
            large.ask("scans", name, MANY_ROWS) if large_url.startswith("postgres") else [],
        )
        for name, pairs in seconds.items()
    ]
    batch_jobs = {
        name: [prober.ask("run_batch_job", name, limit) for prober in (small, large)]
        for name in tqdm(small.offers["batch_jobs"], desc="batch jobs")
    }
    small.stop()
    large.stop()
    return measurements, batch_jobs


def write_page(runs: dict[str, Any]) -> None:
    """The page of the last run on each database."""
    parts = [INTRODUCTION.format(target=TARGET)]
    for database, run in runs.items():
        measurements = [Measurement(**measurement) for measurement in run["measurements"]]
        full_column = [each for each in measurements if each.name.startswith(FULL_COLUMN)]
        small, large = ("{:,} customers, {:,} events".format(*run[size]) for size in ("small", "large"))
        header = f"| | {small}: ms | {large}: ms | ratio | rows shown |\n|---|---:|---:|---:|---|\n"
        parts += [
            f"## {database}\n\n{run['date']}, {run['software']}, {run['cores']} cores shared with others,"
            f" the median of {run['rounds']} rounds.\n\n{header}"
            + "".join(_row(each) for each in measurements if each not in full_column),
            f"{FULL_COLUMN_TEXT}\n{header}" + "".join(_row(each) for each in full_column),
        ]
        if database == "PostgreSQL":
            scans = [f"- {each.name}: {', '.join(each.scans)}\n" for each in measurements if each.scans]
            parts += [SCANS_TEXT.format(many_rows=MANY_ROWS) + ("".join(scans) or "Nowhere.\n"), REASONS]
        else:
            parts.append(REASONS_ON_SQLITE)
        memory = "".join(
            f"| {name} | {large['rows']:,} | {large['seconds']:.0f} | {small['mebibytes']:.1f}"
            f" | {large['mebibytes']:.1f} |\n"
            for name, (small, large) in run["batch_jobs"].items()
        )
        parts.append(MEMORY_TEXT + memory)
    PAGE.write_text("\n".join(parts))


def _row(measurement: Measurement) -> str:
    ratio = f"{measurement.ratio:.2f}" if measurement.ratio <= TARGET else f"**{measurement.ratio:.2f}**"
    small, large = measurement.rows_shown
    rows = f"{small:,}" if small == large else f"{small:,} and {large:,}"
    cells = [measurement.name, f"{measurement.small:.2f}", f"{measurement.large:.2f}", ratio, rows if large else ""]
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int)
    parser.add_argument("--events", type=int)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--limit", type=int, default=1_000_000, help="rows at which CSV, prune and reseal_tokens stop")
    parser.add_argument("--sqlite", action="store_true")
    arguments = parser.parse_args()
    customers, events = LARGE_ON_SQLITE if arguments.sqlite else LARGE_ON_POSTGRESQL
    size = arguments.customers or customers, arguments.events or events
    with databases(size, sqlite=arguments.sqlite) as urls:
        measurements, batch_jobs = measure(*urls, rounds=arguments.rounds, limit=arguments.limit)
    runs = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    runs["SQLite" if arguments.sqlite else "PostgreSQL"] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "software": f"Python {platform.python_version()}, Django {version('django')}",
        "cores": os.cpu_count(),
        "rounds": arguments.rounds,
        "small": SMALL,
        "large": size,
        "measurements": [asdict(each) for each in measurements],
        "batch_jobs": batch_jobs,
    }
    FIGURES.write_text(json.dumps(runs, indent=1) + "\n")
    write_page(runs)
    for each in measurements:
        print(f"{each.ratio:7.2f}  {each.small:9.2f} {each.large:9.2f}  {each.name}  {' '.join(each.scans)}")
    print(json.dumps(batch_jobs, indent=1))
    over = [each.name for each in measurements if each.ratio > TARGET and not each.name.startswith(FULL_COLUMN)]
    print(f"Over {TARGET}: {', '.join(over) or 'nothing'}.")
    print(f"Written: {PAGE.relative_to(ROOT)}, {FIGURES.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

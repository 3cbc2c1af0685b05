"""`make growth`: what a million events cost, as ratios against a thousand, measured in turn on the same machine.

Two databases are seeded (`manage.py seed`), one small and one large, each with a process that measures it
(bench.probes). A round asks both for everything, one right after the other, so that whatever else the machine does
meets both; what counts is the middle of the rounds' ratios. Writes docs/growth.md and docs/figures/growth.json.

`--customers`, `--events`: the large one. `--sqlite`: on SQLite, with as many events as a deployment on it may have.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
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
TABLE, FIGURES = ROOT / "docs" / "growth.md", ROOT / "docs" / "figures" / "growth.json"
SMALL = (100, 1000)
ON_SQLITE = (10_000, 100_000)
TARGET = 1.3
# Told beside the table: they read a whole column of a table by what they are.
BY_NATURE = ("date hierarchy: ", "search: ")


INTRODUCTION = """# What growth costs

Written by `make growth`, not by hand: two databases from `manage.py seed`, a small one and a large one, each with a
process that measures it. A round asks both for everything, one right after the other; the ratio is the middle of the
rounds' own ratios, so that whatever else the machine was doing met both. Milliseconds are those of that machine at
that hour, and say little; the ratio is what counts, and the target is at most {target}. *The big customer* has a
fifth of all events and eight connections, so its own rows grow with the database; the pages without that word are
those of one of the many.

Pages are asked for in the process that measures (Django's test client), lists of the admin without the date hierarchy
above them and without a search: what those cost stands further down. A batch of `prune` is rolled back.
"""
BY_NATURE_WORDS = """## What reads a whole column

Date hierarchies of the admin look for the first and the last day of a column, and its search boxes for a part of a
name: both by reading the table. Tables of millions (events, deliveries, the audit trail) have neither: their search
box takes whole codes and IDs, from an index.
"""
WHOLE_WORDS = """## Plans

Of every query behind these lines PostgreSQL was asked for its plan (`EXPLAIN ANALYZE`). Without an index it read more
than 20,000 rows of a table only here:

"""
REMAINS = """## What may be over the target, and why

- Pages that draw more rows in the large database, where the small one has less than a page to show (of what failed, a
  handful against fifty): the last column says how many. Their queries read as many rows as a page has, which tests hold
  them to.
- The big customer's dashboard counts that customer's own events of thirty days, from an index.
- The sweep, and what `/health/ready` says is waiting: both look at the events and connections whose turn it is and at
  nothing else, and in the large database a thousand times as many wait.
- The operations page counts what there is of each kind, up to 10,000.
- `prune`: events of disconnected connections are looked for among those of each such connection.
"""
REMAINS_ON_SQLITE = """## What is over the target on SQLite, and why

- The sweep looks through the table of deliveries twice: SQLite does not take the index of the unmatched ones. It is a
  tenth of a second, every few seconds.
- What the operations page and `/health/ready` count is read row by row. Pages draw more rows, as above; those of one
  inspection look along a connection's events.
"""
MEMORY_WORDS = """## Memory

By how much the work raised the most memory that its process ever had. All of it goes in batches.

| | rows | seconds | MiB more, at the small size | MiB more, at the large size |
|---|---:|---:|---:|---:|
"""


@dataclass(frozen=True)
class Line:
    """Milliseconds, the middle of the rounds.

    drawn: rows of lists that the page shows, small and large. whole: big tables that the large one reads as a whole.
    """

    name: str
    small: float
    large: float
    ratio: float
    drawn: tuple[int, int]
    whole: list[str]


class Measured:
    """A database, and the process that measures it."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.probes"],
            cwd=ROOT, env=environment(url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.about = self._answer()

    def ask(self, what: str, name: str) -> Any:
        assert self._process.stdin is not None
        print(what, name, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The process that measures has ended; it said why above.")
        return json.loads(line)

    def end(self) -> None:
        self._process.communicate()


def environment(url: str) -> dict[str, str]:
    """What the processes need, and nothing of the machine's own settings."""
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
def databases(arguments: Namespace) -> Iterator[list[str]]:
    """The URLs of the small and the large one, seeded."""
    sizes = [SMALL, (arguments.customers, arguments.events)]
    with ExitStack() as opened:
        if arguments.sqlite:
            folder = opened.enter_context(tempfile.TemporaryDirectory())
            urls = [f"sqlite:///{folder}/{name}.sqlite3" for name in ("small", "large")]
        else:
            server = arguments.server or opened.enter_context(postgres.server("-c", "shared_buffers=512MB"))
            urls = [f"{server.rsplit('/', 1)[0]}/{name}" for name in ("small", "large")]
            with psycopg.connect(server, autocommit=True) as connection:
                for name in ("small", "large"):
                    connection.execute(f"DROP DATABASE IF EXISTS {name}")
                    connection.execute(f"CREATE DATABASE {name}")
        for url, (customers, events) in zip(urls, sizes, strict=True):
            fill(url, customers, events)
        yield urls


def fill(url: str, customers: int, events: int) -> None:
    for command in (
        ["migrate", "--verbosity", "0"],
        ["createcachetable"],
        ["seed", "--customers", str(customers), "--events", str(events)],
    ):
        subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment(url), check=True)
    if url.startswith("postgres"):
        # As autovacuum would have done by the time that somebody looks.
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def measure(urls: list[str], *, rounds: int, most: int) -> tuple[list[Line], dict[str, Any]]:
    small, large = (Measured(url) for url in urls)
    names: list[str] = small.about["names"]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    drawn: dict[str, tuple[int, int]] = {}
    for number in tqdm(range(-1, rounds), desc="rounds"):
        for name in names:
            # Who comes first takes turns, too.
            asked = {who: who.ask("time", name) for who in ((small, large) if number % 2 else (large, small))}
            (one, drawn_by_one), (other, drawn_by_other) = asked[small], asked[large]
            drawn[name] = drawn_by_one, drawn_by_other
            if number >= 0:  # the first one warms up
                times[name].append((one, other))
    lines = [
        Line(
            name,
            1000 * median(one for one, _ in pairs),
            1000 * median(other for _, other in pairs),
            median(other / one for one, other in pairs),
            drawn[name],
            large.ask("plans", name) if urls[1].startswith("postgres") else [],
        )
        for name, pairs in times.items()
    ]
    long = {
        name: [who.ask("long", f"{most} {name}") for who in (small, large)]
        for name in tqdm(small.about["long"], desc="long")
    }
    small.end()
    large.end()
    return lines, long


def write(kept: dict[str, Any]) -> None:
    """The page from what was measured."""
    parts = [INTRODUCTION.format(target=TARGET)]
    for kind, shown in kept.items():
        lines = [Line(**line) for line in shown["lines"]]
        by_nature = [line for line in lines if line.name.startswith(BY_NATURE)]
        small, large = ("{:,} customers, {:,} events".format(*shown[size]) for size in ("small", "large"))
        header = f"| | {small}: ms | {large}: ms | ratio | rows drawn |\n|---|---:|---:|---:|---|\n"
        parts += [
            f"## {kind}\n\n{shown['date']}, {shown['software']}, {shown['cores']} cores shared with others,"
            f" the middle of {shown['rounds']} rounds.\n\n{header}"
            + "".join(_row(line) for line in lines if line not in by_nature),
            f"{BY_NATURE_WORDS}\n{header}" + "".join(_row(line) for line in by_nature),
        ]
        if kind == "PostgreSQL":
            whole = [f"- {line.name}: {', '.join(line.whole)}\n" for line in lines if line.whole]
            parts += [WHOLE_WORDS + ("".join(whole) or "Nowhere.\n"), REMAINS]
        else:
            parts.append(REMAINS_ON_SQLITE)
        memory = "".join(
            f"| {name} | {end['rows']:,} | {end['seconds']:.0f} | {begin['raised']:.1f} | {end['raised']:.1f} |\n"
            for name, (begin, end) in shown["long"].items()
        )
        parts.append(MEMORY_WORDS + memory)
    TABLE.write_text("\n".join(parts))


def _row(line: Line) -> str:
    ratio = f"{line.ratio:.2f}" if line.ratio <= TARGET else f"**{line.ratio:.2f}**"
    few, many = line.drawn
    drawn = f"{few:,}" if few == many else f"{few:,} and {many:,}"
    return f"| {line.name} | {line.small:.2f} | {line.large:.2f} | {ratio} | {drawn if many else ''} |\n"


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int)
    parser.add_argument("--events", type=int)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--most", type=int, default=1_000_000, help="rows of a file, of prune and of reseal_tokens")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--server", help="a running PostgreSQL, whose databases small and large are made anew")
    arguments = parser.parse_args()
    customers, events = ON_SQLITE if arguments.sqlite else (100_000, 1_000_000)
    arguments.customers, arguments.events = arguments.customers or customers, arguments.events or events
    with databases(arguments) as urls:
        lines, long = measure(urls, rounds=arguments.rounds, most=arguments.most)
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    kept["SQLite" if arguments.sqlite else "PostgreSQL"] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "software": f"Python {platform.python_version()}, Django {version('django')}",
        "cores": os.cpu_count(),
        "rounds": arguments.rounds,
        "small": SMALL,
        "large": [arguments.customers, arguments.events],
        "lines": [asdict(line) for line in lines],
        "long": long,
    }
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n")
    write(kept)
    over = [line.name for line in lines if line.ratio > TARGET and not line.name.startswith(BY_NATURE)]
    for line in lines:
        print(f"{line.ratio:7.2f}  {line.small:9.2f} {line.large:9.2f}  {line.name}  {' '.join(line.whole)}")
    print(json.dumps(long, indent=1))
    print(f"Over {TARGET}: {', '.join(over) or 'nothing'}.")
    print(f"Written: {TABLE.relative_to(ROOT)}, {FIGURES.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

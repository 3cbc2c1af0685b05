"""`make bench`: compares each path with its reference point, prints a table and writes it to docs/performance.md.

BENCH_SECONDS=0.2 takes a minute and writes nothing: it shows that everything runs, and says nothing about speed.
"""

import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import benchmarks, report
from bench.benchmarks import Size, System
from bench.deployment import ROOT, Deployment, wait_for_port
from bench.result import Result
from tests.commands import soak
from tests.snapinspect.remotes import Authority
from tests.support import postgres

# As in production; the default of tests.support.postgres is faster, and loses data when the power fails.
DURABLE = ["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "shared_buffers=256MB"]


def main() -> int:
    # SIGTERM stops the processes that were started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    seconds = os.environ.get("BENCH_SECONDS", "")
    size = Size().shortened(float(seconds)) if seconds else Size()
    results: list[Result] = []

    def add(result: Result) -> None:
        results.append(result)
        print(report.terminal_line(result), flush=True)

    started, load, commit = time.monotonic(), os.getloadavg()[1], soak.commit()
    if load > (os.cpu_count() or 1) / 2:
        print(f"This machine is busy (load average {load:.1f}): ratios are less reliable, all else is unreliable.")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="connect-bench-")))
        authority = Authority(folder)
        http, https = postgres.free_port(), postgres.free_port()
        on_sqlite = Deployment(folder, f"sqlite:///{folder / 'db.sqlite3'}", f"http://localhost:{http}/")
        on_sqlite.collect_static()
        certificate = str(authority.certificate(host="localhost"))
        for arguments in ([str(http)], [str(https), certificate]):
            stack.enter_context(on_sqlite.process("stub_api", ["-m", "bench.stub_api", *arguments]))
            wait_for_port(int(arguments[0]))
        if postgres.binaries() is None:
            print("SKIPPED everything on PostgreSQL: it is missing (apt-get install postgresql)")
        else:
            url = stack.enter_context(postgres.server(*DURABLE))
            system = filled(on_sqlite.with_database(url), "PostgreSQL", size)
            with ExitStack() as servers:
                benchmarks.on_postgresql(system, servers, f"https://localhost:{https}/", str(authority.path), add)
        with ExitStack() as servers:
            benchmarks.on_sqlite(filled(on_sqlite, "SQLite", size), servers, add)
        missed = [result for result in results if result.missed]
        print(f"{len(missed)} of {sum(bool(result.targets) for result in results)} targets are missed.")
        if not seconds and postgres.binaries():
            minutes = (time.monotonic() - started) / 60
            report.store(report.run_of(results, commit=commit, minutes=minutes, load=load, postgresql=url))
            print(f"Written: {report.PAGE.relative_to(ROOT)}, {report.FIGURES.relative_to(ROOT)}")
    return 0


def filled(deployment: Deployment, database: str, size: Size) -> System:
    """A migrated database with the rows of bench.fill."""
    return System(deployment, database, deployment.migrate().run("bench.fill"), size)


if __name__ == "__main__":
    sys.exit(main())

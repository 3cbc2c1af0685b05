"""What `make bench` does for one path."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import benchmarks
from bench.benchmarks import Size, System
from bench.deployment import Deployment
from bench.result import at_least

pytestmark = [pytest.mark.slow, pytest.mark.processes, pytest.mark.once]


def test_the_benchmark_measures_the_product_beside_its_reference(tmp_path: Path) -> None:
    at = Deployment(tmp_path, f"sqlite:///{tmp_path / 'db.sqlite3'}", "http://localhost:9/").migrate()
    at.collect_static()  # pages are made, too
    system = System(at, "SQLite", at.run("bench.fill"), Size().shortened(0.1))
    with ExitStack() as servers:
        targets = [at_least("ratio", 1e9), at_least("p99 ms", 0)]
        result = benchmarks.webhook(benchmarks.serving(system, servers), 2, targets)
    acknowledged = at.sql("SELECT count(*) FROM integrations_delivery")[0][0]
    assert acknowledged > 0 and at.sql("SELECT count(*) FROM bench_inbox")[0][0] > 0
    assert [str(target) for target in result.missed] == ["ratio ≥ 1e+09"]

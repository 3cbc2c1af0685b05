"""`make test`: the whole suite on SQLite, then everything that touches data again on PostgreSQL.

Arguments are handed to pytest. What cannot run here is said in one line; in CI that is a failure.
"""

import os
import shutil
import subprocess
import sys

from tests import postgres


def main() -> int:
    arguments = sys.argv[1:]
    missing = []
    if not (shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")):
        missing.append("SKIPPED the browser tests: Chromium is missing (apt-get install chromium)")
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
    print(f"--- {database}", flush=True)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", *arguments],
        env=os.environ | environment,
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())

"""Known holes in the packages of production (row H9): `python -m tests.audit` fails on one, and says what it left out.

Where the package index knows nothing of holes, that is said loudly and is no failure: a mirror is not to blame.
"""

import json
import subprocess
import sys
from typing import Any

COMMAND = ["-m", "pip_audit", "--requirement", "requirements.txt", "--require-hashes", "--disable-pip", "--no-deps"]


def main() -> int:
    asked = subprocess.run(
        [sys.executable, *COMMAND, "--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        print("NOT AUDITED: the package index could not be asked about known holes.")
        return 0
    holes = [(package["name"], hole["id"]) for package in packages for hole in package.get("vulns", [])]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    for name, hole in holes:
        print(f"{name} has a known hole: {hole}")
    if skipped:
        print(f"NOT AUDITED: the package index says nothing about {len(skipped)} of {len(packages)} packages.")
    print(f"H9: known holes in {len(packages) - len(skipped)} packages: {len(holes)}")
    return int(bool(holes))


if __name__ == "__main__":
    sys.exit(main())

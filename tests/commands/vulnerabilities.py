"""Known vulnerabilities in the packages of production (row H9).

`python -m tests.commands.vulnerabilities` fails on one, and says what it left out.

Where the package index knows nothing of holes, that is said loudly and is no failure: a mirror is not to blame.
"""

import json
import subprocess
import sys
from typing import Any

COMMAND = ["-m", "pip_audit", "--requirement", "requirements.txt", "--require-hashes", "--disable-pip", "--no-deps"]


def judge(packages: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """The exit code, and the lines to print: what has a known hole, and how much nothing is known of."""
    holes = [(package["name"], hole["id"]) for package in packages for hole in package.get("vulns", [])]
    skipped = sum("skip_reason" in package for package in packages)
    lines = [f"{name} has a known hole: {hole}" for name, hole in holes]
    if skipped:
        lines.append(f"NOT AUDITED: the package index says nothing about {skipped} of {len(packages)} packages.")
    if skipped < len(packages):
        lines.append(f"H9: known holes in {len(packages) - skipped} packages: {len(holes)}")
    return int(bool(holes)), lines


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
    status, lines = judge(packages)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())

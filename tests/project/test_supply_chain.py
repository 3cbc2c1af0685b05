"""Row H9: what production runs is known to the last package. `make check` asks the package index for known holes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import vulnerabilities
from tests.support.measurements import record
from tests.support.running_app import ROOT

pytestmark = pytest.mark.once
SBOM = re.compile(r"cyclonedx-py (requirements requirements\.txt .*--output-file) var/sbom\.json")


def pinned() -> dict[str, set[str]]:
    """The packages of production with their version, and the hashes that may be installed."""
    found = {}
    for part in re.split(r"\n(?=\S)", (ROOT / "requirements.txt").read_text()):
        if named := re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([^ \\;]+)", part):
            found[f"{named[1].lower()} {named[2]}"] = set(re.findall(r"--hash=sha256:(\w{64})", part))
    return found


@pytest.mark.slow
def test_H9_the_bill_of_materials_names_every_package_with_version_and_hashes(tmp_path: Path) -> None:
    command = SBOM.search((ROOT / "Makefile").read_text())
    assert command
    written = tmp_path / "sbom.json"
    subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", *command[1].split(), written], cwd=ROOT, check=True, capture_output=True
    )

    bill: dict[str, Any] = json.loads(written.read_text())
    listed = {
        f"{one['name'].lower()} {one['version']}": {
            hashed["content"] for where in one["externalReferences"] for hashed in where.get("hashes", [])
        }
        for one in bill["components"]
    }
    record("H9", "the bill of materials of production", f"{len(listed)} packages, each with its version and hashes")
    assert bill["bomFormat"] == "CycloneDX"
    assert listed == pinned()
    assert all(listed.values())


CLEAN: dict[str, Any] = {"name": "django", "version": "5.2", "vulns": []}
HOLE: dict[str, Any] = {"name": "pip", "version": "1.0", "vulns": [{"id": "CVE-2030-1"}]}
UNKNOWN: dict[str, Any] = {"name": "ours", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([CLEAN, CLEAN], 0, ["H9: known holes in 2 packages: 0"]),
        ([CLEAN, HOLE], 1, ["pip has a known hole: CVE-2030-1", "H9: known holes in 2 packages: 1"]),
        ([UNKNOWN], 0, ["NOT AUDITED: the package index says nothing about 1 of 1 packages."]),
    ],
    ids=["no hole", "a hole", "an index that knows nothing"],
)
def test_H9_a_known_hole_fails_the_check_and_an_index_that_knows_nothing_is_said_loudly(
    packages: list[dict[str, Any]], status: int, said: list[str]
) -> None:
    assert vulnerabilities.judge(packages) == (status, said)


def test_H9_make_check_asks_for_known_holes() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    assert "-m tests.commands.vulnerabilities" in recipe

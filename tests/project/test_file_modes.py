"""What a process writes is for its own user alone, whatever the shell's umask says."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.production import ENVIRONMENT
from tests.support.running_app import ROOT

pytestmark = pytest.mark.once


def test_the_database_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    subprocess.run(
        ["bash", "-c", f"umask 000 && exec {sys.executable} manage.py migrate contenttypes --verbosity 0"],
        cwd=ROOT,
        env={**ENVIRONMENT, "PATH": os.environ["PATH"], "DATABASE_URL": f"sqlite:///{tmp_path / 'x' / 'db.sqlite3'}"},
        check=True,
    )
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "x").iterdir()}
    assert set(modes.values()) == {0o600}, modes

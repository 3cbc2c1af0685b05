"""Commands started as processes with the settings of production, and what a refused start prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.commands.production import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
MANAGE = ("manage.py",)
GUNICORN = ("-m", "gunicorn", "--config", "gunicorn.conf.py", "--check-config")
PASSWORD = "in-an-address"


def start(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command with the settings of production, but for these. An empty one is a missing one, whatever `.env` says."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **ENVIRONMENT, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_one_line_about(name: str, finished: subprocess.CompletedProcess[str]) -> None:
    said = (finished.stderr + finished.stdout).strip()
    assert finished.returncode != 0, said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1, said
    assert re.search(rf"\b{name}\b", said), said
    assert PASSWORD not in said

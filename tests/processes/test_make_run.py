"""Row 1 of the check-list: `make run` in a fresh checkout, a sign-up and a Connect, Ctrl-C, and the same again.

Only the installation is left out, since it downloads packages: the checkout uses the environment of this run.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from tests.support.clients import Sandbox
from tests.support.http_visitor import Visitor
from tests.support.measurements import record
from tests.support.postgres import free_port
from tests.support.running_app import ROOT, RunningApp
from tests.support.wait import TIMEOUT, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.processes, pytest.mark.once]
NOT_CLONED = shutil.ignore_patterns(".git", ".venv*", "var", ".*_cache", "__pycache__", ".hypothesis")


class Checkout:
    """What a developer has after `git clone`, and the addresses that it is asked to run at."""

    session, certificate = RunningApp.session, None  # as far as a visitor's browser goes

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # where the visitor keeps the pages
        self.root = folder / "connect"
        shutil.copytree(ROOT, self.root, ignore=NOT_CLONED)
        (self.root / ".venv").symlink_to(ROOT / ".venv")
        self.ports = {"PORT": str(free_port()), "SANDBOX_PORT": str(free_port())}
        self.url = f"http://localhost:{self.ports['PORT']}/"
        self.sandbox = Sandbox(f"http://127.0.0.1:{self.ports['SANDBOX_PORT']}/")
        self.said = folder / "said.log"

    @contextmanager
    def running(self) -> Iterator[None]:
        """From the moment it says where to open it; ended by Ctrl-C, which goes to all processes of a terminal."""
        environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
        with self.said.open("w") as said:
            make = subprocess.Popen(
                ["make", "run"], cwd=self.root, env=environment | self.ports, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: f"Open {self.url}" in self.said.read_text() or make.poll() is not None, TIMEOUT * 3)
            assert make.poll() is None, self.said.read_text()
            yield
        finally:
            if make.poll() is None:
                os.killpg(make.pid, signal.SIGINT)
            make.wait(TIMEOUT)

    def processes(self) -> list[str]:
        """What still runs in its folder, by command line."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").readlink() == self.root:
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # it has ended, or is somebody else's
        return found


def product_page(checkout: Checkout) -> str:
    (address,) = re.findall(r"A product that uses it is (\S+)", checkout.said.read_text())
    wait_until(lambda: answers(address))
    return requests.get(address, timeout=30).text


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).ok
    except requests.RequestException:
        return False


def test_one_command_runs_it_all_ctrl_c_ends_it_all_and_a_second_run_keeps_the_data(tmp_path: Path) -> None:
    checkout: Any = Checkout(tmp_path)
    visitor = Visitor(cast(RunningApp, checkout))
    began = time.monotonic()
    with checkout.running():
        visitor.sign_up().connect()
        seconds = time.monotonic() - began
        # make's child, the stand-in, gunicorn and its child, the worker, the product
        assert len(checkout.processes()) >= 6
        assert "Sign in as Ana" in product_page(checkout)
    assert checkout.processes() == []
    said = checkout.said.read_text()
    assert [words for words in said.splitlines() if words.endswith(" ...")] == [
        "Preparing the database ...",
        "Preparing the cache ...",
        "Adding the demo data ...",
        "Starting the stand-in, the web app and the worker ...",
    ]
    assert "Sign in as" in said
    assert "Traceback" not in said

    with checkout.running():
        assert visitor.badges() == ["Connected"], "sessions, keys and the connection are those of the first run"
        assert "Sign in as Ana" in product_page(checkout)
    assert checkout.processes() == []
    kept = {path.relative_to(checkout.root).parts[0] for path in checkout.root.rglob("*") if path.is_file()}
    tracked = {path.name for path in ROOT.iterdir()}
    assert kept - tracked <= {"var"}, "nothing is written but to var/"
    record("D1", "`make run` in a fresh checkout, without the installation", f"Connected after {seconds:.0f} s")


def test_without_the_next_python_one_line_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    finished = subprocess.run(
        ["make", "--silent", "test-next", "NEXT_PYTHON="], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode != 0
    assert re.fullmatch(r"Python 3\.13 is missing \(.+\)\n", finished.stdout)
    assert not (tmp_path / ".venv-next").exists()

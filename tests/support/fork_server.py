"""The test's side of `fork_server_jobs`: has real processes do something at the same moment, die, freeze or wait."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.running_app import ROOT, RunningApp, wait_until

Job = dict[str, Any]


@dataclass(frozen=True)
class End:
    """How a process ended: its exit status, negative for a signal, and what it found."""

    status: int
    found: Any


def job(
    do: str,
    *,
    at: str = "",
    then: str = "die",
    lease: float = 0,
    skew: float = 0,
    busy: float = 0,
    spool: Path | None = None,
    **of: Any,
) -> Job:
    """See `tests.support.fork_server_jobs`."""
    options = {"lease": lease, "skew": skew, "busy": busy} | ({"at": at, "then": then} if at else {})
    options["spool"] = str(spool or "")
    return {"do": do, "with": of} | {name: value for name, value in options.items() if value}


class ForkServer:
    def __init__(self, app: RunningApp) -> None:
        self._folder = app.folder
        with (app.folder / "fork_server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server_jobs"],
                cwd=ROOT, env=app.environment | {"FORK_SERVER_FOLDER": str(app.folder)}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def start(self, *jobs: Job) -> list[int]:
        """The ids of the processes, which are let go at this moment."""
        assert self._process.stdin
        print(json.dumps(jobs), file=self._process.stdin, flush=True)
        pids: list[int] = self._answer()
        return pids

    def ends(self) -> list[End]:
        """How they ended, once all of them have."""
        return [End(**end) for end in self._answer()]

    def run(self, *jobs: Job) -> list[End]:
        self.start(*jobs)
        return self.ends()

    def do(self, do: str, **how: Any) -> Any:
        """What one process found, which must not fail."""
        (end,) = self.run(job(do, **how))
        assert end.status == 0, f"{do} failed; see fork_server.log"
        return end.found

    def has_reached(self, pid: int) -> None:
        """Returns once the process waits at its place."""
        wait_until(Path(self._folder, f"{pid}.reached").exists)

    def go_on(self, pid: int) -> None:
        Path(self._folder, f"{pid}.go").touch()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the fork server ended ({self._process.wait(60)}); see fork_server.log"
        return json.loads(line)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def thaw(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)

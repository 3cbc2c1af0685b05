"""The client of `fork_server_jobs`: real processes that start at the same moment, die, freeze or wait."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.running_app import ROOT, RunningApp
from tests.support.wait import wait_until

Job = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The exit status of a process, negative for a signal, and what its job returned."""

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
        """Starts the jobs at the same moment. Returns their process ids."""
        assert self._process.stdin
        print(json.dumps(jobs), file=self._process.stdin, flush=True)
        pids: list[int] = self._answer()
        return pids

    def wait(self) -> list[Result]:
        """Returns when all jobs have ended."""
        return [Result(**result) for result in self._answer()]

    def run(self, *jobs: Job) -> list[Result]:
        self.start(*jobs)
        return self.wait()

    def do(self, do: str, **how: Any) -> Any:
        """Runs one job, which must not fail. Returns what it found."""
        (result,) = self.run(job(do, **how))
        assert result.status == 0, f"{do} failed; see fork_server.log"
        return result.found

    def wait_for_place(self, pid: int) -> None:
        """Returns when the process waits at its place."""
        wait_until(Path(self._folder, f"{pid}.reached").exists)

    def resume(self, pid: int) -> None:
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

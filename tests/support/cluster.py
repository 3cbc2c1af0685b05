"""Two web machines and two worker machines, as docs/scaling.md says: they share PostgreSQL and nothing else.

Each has a checkout, settings and a `var/` of its own, and is started from the units of deploy/systemd; one nginx stands
before both webs. All of them are on this machine, so only their folders and ports differ.
"""

import shutil
import subprocess
from pathlib import Path

from tests.support import postgres
from tests.support.deployment import Deployment, without_checks
from tests.support.running_app import ROOT
from tests.support.systemd_machine import WEB, WORKER, Machine


class Cluster(Deployment):
    """`settings` go to every machine. Its units start and end like the processes of any running app."""

    when_away = "fail_timeout=1s"  # docs/scaling.md

    def __init__(self, folder: Path, database: postgres.Server, **settings: str) -> None:
        super().__init__(folder, database)
        self._settings = settings | {"SNAPINSPECT_CHANGES_PATH": self.environment["SNAPINSPECT_CHANGES_PATH"]}
        self._running: dict[Machine, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        super().__enter__()
        # The operator's own handlers are part of what is installed; here they stand among the tests.
        shutil.copytree(ROOT / "tests", self.machine.home / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        self.machine.add_settings(**self._settings)
        self.web_hosts = [self.machine, self._another("web-b")]
        self.worker_hosts = [self._another("worker-a"), self._another("worker-b")]
        # For other processes on this database (tests.support.fork_server).
        self.environment |= {**self.machine.settings(), "DEBUG": "false"}
        self.start_nginx()
        return self

    def script(self) -> str:
        return without_checks(super().script())

    def _another(self, name: str) -> Machine:
        """A machine that was set up like the first one, and has its own copy of everything."""
        machine = Machine(self.folder / name, self.folder / "etc" / f"{name}.environment")
        shutil.copytree(self.machine.home, machine.home, symlinks=True)
        shutil.copy(self.machine.settings_file, machine.settings_file)
        self.settings_files.append(f"{self.folder.name}/etc/{machine.settings_file.name}")
        return machine

    @staticmethod
    def spool(machine: Machine) -> Path:
        """The spool folder of this machine, which no other can read."""
        return machine.home / "var" / "spool"

    def start_web(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """On the machine that has none running."""
        assert not options, "a unit takes none"
        assert not environment, "a unit takes none"
        machine = self.idle(self.web_hosts)
        port = self.web_ports[self.web_hosts.index(machine)]
        process = self._running[machine] = self.start_unit(WEB, port, on=machine)
        self.wait_until_lives(port, process)
        return process

    def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """On the machine that has none running."""
        assert not environment, "a unit takes none"
        machine = self.idle(self.worker_hosts)
        process = self._running[machine] = self.start_unit(WORKER, on=machine)
        return process

    def idle(self, machines: list[Machine]) -> Machine:
        """The first of these that runs nothing."""
        return next(one for one in machines if one not in self._running or self._running[one].poll() is not None)

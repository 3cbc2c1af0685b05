"""Where the app is installed, as far as its processes can tell; what deploy/systemd starts there."""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.running_app import ROOT

UNITS = ROOT / "deploy" / "systemd"
WEB, WORKER = "connect-web@.service", "connect-worker@.service"
# What a clone of the repository would hold, for one that has changes not committed yet.
CLONED = ["manage.py", "gunicorn.conf.py", "requirements.txt", "connectapp", "accounts", "integrations", "templates",
          "static", "deploy"]  # fmt: skip
# Seconds that systemd waits for the end of a process after SIGTERM.
TIMEOUT_STOP = max(
    int(re.findall(r"^TimeoutStopSec=(\d+)$", (UNITS / unit).read_text(), re.M)[0]) for unit in (WEB, WORKER)
)


def command_of(unit: str, instance: object) -> list[str]:
    line = re.search(r"^ExecStart=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)
    assert line is not None
    return shlex.split(line[1].replace("%i", str(instance)))


@dataclass(frozen=True)
class Machine:
    """A checkout with its `var/`, and a settings file."""

    home: Path
    settings_file: Path

    def pull(self) -> None:
        """Today's code, in place of what is there."""
        self.home.mkdir(exist_ok=True)
        for name in CLONED:
            there, here = ROOT / name, self.home / name
            if not there.is_dir():
                shutil.copy(there, here)
                continue
            shutil.copytree(there, here, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            for path in here.rglob("*.py"):
                if not (there / path.relative_to(here)).exists():
                    path.unlink()

    def settings(self) -> dict[str, str]:
        """As systemd reads an EnvironmentFile: a later line wins."""
        lines = self.settings_file.read_text().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def add_settings(self, **settings: object) -> None:
        with self.settings_file.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], **self.settings()}

    def start_unit(self, unit: str, instance: object, log: Path) -> subprocess.Popen[bytes]:
        """The process of a systemd unit, in its folder and with its environment only."""
        command = [part.replace("/srv/connect", str(self.home)) for part in command_of(unit, instance)]
        with log.open("ab") as written:
            return subprocess.Popen(
                command, cwd=self.home, env=self.environment, stdout=written, stderr=written, start_new_session=True
            )

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """To its end, in the same folder and environment, whatever it answers."""
        return subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )

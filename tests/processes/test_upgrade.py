"""Row O11: a new version takes the place of the one before while SnapInspect goes on posting deliveries.

On PostgreSQL and behind a real nginx whatever the suite runs on, so once is enough.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import postgres, secret_scan
from tests.support.deployment import GUIDE, Deployment, without_checks
from tests.support.measurements import record
from tests.support.running_app import ROOT
from tests.support.sizes import size
from tests.support.systemd_machine import CLONED
from tests.support.versions import version_before
from tests.support.wait import wait_until
from tests.support.webhook_load import Sender

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is missing (apt-get install nginx)"),
    pytest.mark.skipif(postgres.binaries() is None, reason="PostgreSQL is missing (apt-get install postgresql)"),
]
PER_SECOND = size(10, 50)
# Of a command that gives up in good order; each costs nothing but another try.
MOST_TRIES = 5
GIVES_UP = re.compile("deadlock detected|lock timeout")
DONE = "SELECT count(DISTINCT type) FROM integrations_event WHERE type LIKE 'O11%' AND state = 'done'"
STORED = "SELECT count(DISTINCT type) FROM integrations_delivery WHERE type LIKE 'O11%'"


class Upgrade(Deployment):
    """A deployment of this commit (of today's code if there is none), on which the guide's last chapter is followed."""

    def __init__(self, folder: Path, database: postgres.Server, version: str) -> None:
        super().__init__(folder, database)
        self._version = version

    def install(self) -> None:
        """The code of that commit; what serves it is set up as today's guide says."""
        if not self._version:
            super().install()
            return
        self.machine.home.mkdir()
        packed = subprocess.run(
            ["git", "archive", self._version, *set(CLONED) - {"deploy"}], cwd=ROOT, capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", self.machine.home], input=packed, check=True)
        shutil.copytree(ROOT / "deploy", self.machine.home / "deploy")

    def script(self) -> str:
        return without_checks(super().script())

    def upgrade(self) -> int:
        """Follows the chapter line by line. Returns how often a command had to be started again, as it says."""
        chapter = GUIDE.read_text().partition("\n## A new version\n")[2]
        chapter = chapter.replace("/etc/connect/environment", str(self.machine.settings_file))
        again = 0
        for line in re.findall(r"^# (.*)$", chapter.partition("```console\n")[2].partition("```")[0], re.MULTILINE):
            if line == "cd /srv/connect && git pull":
                self.machine.pull()
            elif shell := re.fullmatch(r"sudo -u connect sh -c '(.*)'", line):
                again += self._started_again(shell[1])
            elif web := re.match(r"systemctl restart connect-web@800(\d) && curl .* http://127.0.0.1:800\1/", line):
                self.restart_web(self.web_ports[int(web[1])])
            elif line == "systemctl restart 'connect-worker@*'":
                self.restart_worker()
            else:
                assert "pip install" in line, f"unknown step: {line}"  # the packages are those of this environment
        return again

    def _started_again(self, command: str) -> int:
        for again in range(MOST_TRIES):
            finished = self.machine.run("sh", "-c", command)
            if finished.returncode == 0:
                return again
            assert GIVES_UP.search(finished.stderr), finished.stdout + finished.stderr
        raise AssertionError(finished.stderr)


def test_O11_a_new_version_takes_over_while_deliveries_go_on_and_none_fails(tmp_path: Path) -> None:
    before = version_before()
    with postgres.running() as database, Upgrade(tmp_path, database, before) as deployment:
        deployment.start_all().visitor().sign_up().connect()
        sender = Sender(deployment)

        def until_more_are_in(number: int) -> None:
            wanted = len(sender.acknowledged) + number
            wait_until(lambda: len(sender.acknowledged) >= wanted)

        with sender.steadily("O11", PER_SECOND):
            until_more_are_in(size(20, 500))
            until_then = len(sender.acknowledged)
            again = deployment.upgrade()
            during = len(sender.acknowledged) - until_then
            until_more_are_in(size(20, 500))
        sent = len(sender.acknowledged)
        wait_until(lambda: deployment.rows(DONE) == [(sent,)], seconds=1200, every=0.5)
        lost = sent - deployment.rows(STORED)[0][0]

    record(
        "O11",
        f"the previous version stops and the new one takes over, {PER_SECOND} deliveries a second",
        f"{sent} deliveries, {during} of them meanwhile: {len(sender.failures)} failed, {lost} lost; "
        f"slowest answer {max(sender.seconds):.1f} s; commands started again: {again}; "
        + (f"from {before[:7]}" if before else "THE SAME CODE ON BOTH SIDES, this history knows no other"),
        database="postgresql",
    )
    assert sender.failures == []
    assert lost == 0
    assert secret_scan.leaks([tmp_path]) == deployment.settings_files

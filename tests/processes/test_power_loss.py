"""Row O5 of the score card: what was acknowledged is on disk, whatever moment the power goes."""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from subprocess import Popen

import pytest
from django.db import connection as database

from tests.support import postgres, secret_scan
from tests.support.measurements import record
from tests.support.running_app import RunningApp, database_file
from tests.support.sizes import size
from tests.support.wait import wait_until
from tests.support.webhook_load import Sender

pytestmark = [pytest.mark.slow, pytest.mark.processes]
STRACE = shutil.which("strace")
# The suite's own server is fast and forgetful; this one is as PostgreSQL comes.
DURABLE = ("-c", "fsync=on")


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server | None]:
    """A PostgreSQL that keeps its word; None where this run is about SQLite."""
    if database.vendor != "postgresql":
        yield None
        return
    with postgres.running(*DURABLE) as running:
        yield running


@pytest.fixture(scope="module")
def module_app(server: postgres.Server | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    folder = tmp_path_factory.mktemp("app")
    with RunningApp(folder, server.url if server else "", WEB_WORKERS="1").prepare() as opened:
        opened.start_sandbox()
        yield opened
    assert secret_scan.leaks([folder]) == []


@pytest.fixture
def running_app(module_app: RunningApp) -> Iterator[RunningApp]:
    """Each test starts what it needs beside the stand-in."""
    before = len(module_app.processes)
    yield module_app
    for process in module_app.processes[before:]:
        module_app.kill(process)


def stored(rows: list[tuple[bytes]]) -> set[str]:
    return {json.loads(bytes(body))["sType"] for (body,) in rows}


BODIES = "SELECT body FROM integrations_delivery"


@contextmanager
def posting(sender: Sender) -> Iterator[None]:
    """SnapInspect posts all the time, from four threads."""
    stop = threading.Event()

    def post(thread: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            sender.post(f"O5_{thread}_{number}")
            stop.wait(0.02)

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(post, thread) for thread in range(4)]
        try:
            yield
        finally:
            stop.set()
        for job in jobs:
            job.result()


@contextmanager
def frozen(*groups: "Popen[bytes]") -> Iterator[None]:
    """Nothing of these process groups moves: what lies on disk is of one moment."""
    for group in groups:
        os.killpg(group.pid, signal.SIGSTOP)
    wait_until(lambda: all(state == "T" for group in groups for state in states(group.pid)))
    yield
    for group in groups:
        os.killpg(group.pid, signal.SIGCONT)


def states(group: int) -> list[str]:
    """The states of the threads in this process group."""
    found = []
    for process in [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]:
        with suppress(OSError):  # it has ended
            for thread in list((process / "task").iterdir()):
                state, _, of_group = (thread / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(of_group) == group and state != "Z":
                    found.append(state)
    return found


def test_O5_at_whatever_moment_the_power_goes_every_acknowledged_delivery_is_there(
    running_app: RunningApp, server: postgres.Server | None, tmp_path: Path
) -> None:
    times = size(4, 100)
    web, worker = running_app.start_web(), running_app.start_worker()
    sender, lost, unclean = Sender(running_app), 0, 0
    with posting(sender):
        for moment in range(times):
            threading.Event().wait(random.uniform(0.05, 0.3))
            if server is not None:
                # Without a word to anybody, and no checkpoint: what it starts with is what reached the disk.
                server.stop(signal.SIGQUIT)
                acknowledged = set(sender.acknowledged)
                server.start()
                found = stored(running_app.rows(BODIES))
            else:
                with frozen(web, worker):
                    acknowledged = set(sender.acknowledged)
                    copy = shutil.copytree(database_file(running_app.folder).parent, tmp_path / str(moment))
                with closing(sqlite3.connect(copy / "db.sqlite3")) as opened:
                    unclean += opened.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
                    found = stored(opened.execute(BODIES).fetchall())
                shutil.rmtree(copy)
            lost += len(acknowledged - found)

    record(
        "O5",
        "the database stopped at once, or copied with its WAL, at random moments while deliveries come in",
        f"{times} moments: {times - unclean} opened clean, {lost} of {len(acknowledged)} acknowledged deliveries lost",
    )
    assert (lost, unclean) == (0, 0)


def test_O5_the_database_is_told_to_wait_for_the_disk(running_app: RunningApp) -> None:
    ask = (
        "import json; from django.db import connection; c = connection.cursor(); print(json.dumps({name: "
        "[c.execute(f'{ask} {name}'), c.fetchone()[0]][1] for ask, names in [%r] for name in names}))"
    )
    wanted: dict[str, object]
    if running_app.is_on_postgresql:
        wanted = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
        question = ("SHOW", list(wanted))
    else:
        wanted = {"journal_mode": "wal", "synchronous": 2}
        question = ("PRAGMA", list(wanted))
    found = json.loads(running_app.manage("shell", "--verbosity", "0", "-c", ask % (question,)))
    record("O5", "the database's settings, in a process of the app", str(found))
    assert found == wanted


# Of the one process that commits: the request or statement arrives, the disk has it, the answer leaves.
# strace writes a call in two lines if another process's call comes between its begin and its end.
SYNCED = r"(?:fsync|fdatasync)(?:\(\d+\)| resumed>\)) += 0"
SQLITE = (r'"POST /webhooks', SYNCED, r'"HTTP/1\.1 200')
POSTGRESQL = (r"INSERT INTO integra", SYNCED, r'"C\\0\\0\\0\\17INSERT')
DELIVERIES = 10


@pytest.mark.skipif(STRACE is None, reason="strace is missing (apt-get install strace)")
def test_O5_the_disk_has_a_delivery_before_its_200_leaves(
    running_app: RunningApp, server: postgres.Server | None
) -> None:
    trace, said = running_app.folder / "strace.log", running_app.folder / "strace.err"
    # Cut short: no line of it is long enough to hold a secret.
    command = (str(STRACE), "-f", "-s", "24", "-e", "trace=network,read,write,fsync,fdatasync", "-o", str(trace))
    if server is None:
        running_app.command_prefix = command
        running_app.start_web()
        running_app.command_prefix = ()
    else:
        # The writer of the log, too: what it has flushed is not flushed again by whoever commits.
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        processes = [part for pid in [str(server.pid), *children] for part in ("-p", pid)]
        with said.open("wb") as errors:
            running_app.processes.append(Popen([*command, *processes], stderr=errors, start_new_session=True))
        wait_until(lambda: said.read_text().count("attached") > len(children))
        running_app.start_web()
    sender = Sender(running_app)
    for number in range(DELIVERIES):
        sender.post(f"O5_{number}")

    def seen() -> tuple[int, int]:
        return in_order(trace.read_text(errors="replace"), *(SQLITE if server is None else POSTGRESQL))

    wait_until(lambda: seen()[0] >= DELIVERIES)
    answers, durable = seen()
    record("O5", "strace of whoever commits", f"{durable} of {answers} answers left after their fsync")
    assert durable == answers == DELIVERIES


def in_order(trace: str, arrives: str, synced: str, leaves: str) -> tuple[int, int]:
    """How many answers left, and how many of them after the disk had what had arrived."""
    answers = durable = 0
    waiting = on_disk = False
    for found in re.finditer(f"(?P<arrives>{arrives})|(?P<synced>{synced})|(?P<leaves>{leaves})", trace):
        if found["arrives"]:
            waiting, on_disk = True, False
        elif found["synced"]:
            on_disk = True
        elif waiting:
            answers, durable, waiting = answers + 1, durable + on_disk, False
    return answers, durable


ARRIVED = '7 recvfrom(9, "INSERT INTO integra"..., 8192) = 90\n'
LEFT = '7 sendto(9, "C\\0\\0\\0\\17INSERT"..., 9) = 9\n'
ON_DISK = "7 fdatasync(3) = 0\n"
ON_DISK_LATER = '7 fdatasync(3 <unfinished ...>\n8 read(4, "", 1) = 0\n7 <... fdatasync resumed>)        = 0\n'


@pytest.mark.parametrize(
    ("trace", "answers"),
    [
        (ARRIVED + ON_DISK + LEFT, (1, 1)),
        (ARRIVED + ON_DISK_LATER + LEFT, (1, 1)),
        (ARRIVED + LEFT + ON_DISK, (1, 0)),
        (ON_DISK + ARRIVED + LEFT, (1, 0)),
    ],
)
def test_O5_the_trace_tells_whether_the_disk_had_it_before_the_answer(trace: str, answers: tuple[int, int]) -> None:
    assert in_order(trace, *POSTGRESQL) == answers

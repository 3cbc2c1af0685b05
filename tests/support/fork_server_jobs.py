"""Loads Django once, then forks a process for every job; all jobs of a line start at the same moment.

`python -m tests.support.fork_server_jobs`, with the environment of a running app; `tests.support.fork_server` talks to
it. It reads lines of JSON, each a list of jobs, and answers each with two lines: the process ids, when all have
started; and, when all have ended, how each ended (its exit status, negative for a signal) and what it returned.

A job names a function below in `do`, with its arguments in `with`. Beside them it may say

    at, then    a place from `PLACES`, and what happens there: "die" (kill -9 to itself) or "wait" (for a file)
    lease       seconds that a lease lasts in this process
    skew        seconds by which this process's clock is wrong
    busy        seconds that SQLite waits for a lock
    spool       the folder where the host that this process plays keeps what its exchanges bring
"""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "connectapp.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.db import DatabaseError, connections  # noqa: E402
from django.db import connection as database  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.models import AuditEntry, Customer, User  # noqa: E402
from integrations.background import jobs  # noqa: E402
from integrations.calls import api_client  # noqa: E402
from integrations.connecting import disconnection, sign_in  # noqa: E402
from integrations.models import (  # noqa: E402
    CircuitBreaker,
    ConnectAttempt,
    Connection,
    GuestTokenPair,
    Purpose,
    State,
    TokenPair,
    leases,
)
from integrations.snapinspect import exchange_call, token_pair  # noqa: E402
from integrations.tokens import guest_tokens, lease, spool  # noqa: E402
from tests.support import troubled_connections  # noqa: E402
from tests.support.clients import Sandbox  # noqa: E402

# Around one exchange, in this order; the last is the end of a disconnect's last call.
PLACES: dict[str, tuple[Any, str, str]] = {
    "before journal": (spool, "reserve", "after"),
    "before send": (exchange_call, "exchange", "before"),
    "before spool": (exchange_call, "exchange", "after"),
    "before commit": (spool.Slot, "fill", "after"),
    "after commit": (lease.LeasedPair, "_commit", "after"),
    "after revoke": (lease.LeasedPair, "revoke", "after"),
    # Around the exchange of a pair that has no connection; "before send" and "before spool" are places of it, too.
    "after a guest's exchange": (guest_tokens.LeasedGuestPair, "exchange", "after"),
    "before a guest's erasing": (guest_tokens.LeasedGuestPair, "erase", "before"),
}
PATIENCE = 60.0

Go = Callable[[], None]


def make(
    go: Go, *, number: int, bystanders: int = 0, code: str = "", first: int = troubled_connections.FIRST_COMPANY
) -> list[int]:
    """So many connections of a new customer, or of the one with this code.

    Bystanders are rows that keep a few refusals from looking like an outage.
    """
    go()
    if code:
        customer = Customer.objects.get(code=code)
        owner = User.objects.get(memberships__customer=customer)
    else:
        owner = User.objects.create_user(f"{os.urandom(6).hex()}@example.com", "correct horse battery")
        customer = Customer.objects.create_with_owner("Acme Property", owner=owner)
    Connection.objects.bulk_create(Connection(customer=customer, state=State.CONNECTED) for _ in range(bystanders))
    sandbox = Sandbox(settings.SNAPINSPECT_API_URL)
    return [made.pk for made in troubled_connections.connect(sandbox, customer, owner, number, first=first)]


def settle(go: Go, *, customers: int) -> list[int]:
    """So many customers with one connection each; the companies of those."""
    go()
    companies = range(troubled_connections.FIRST_COMPANY, troubled_connections.FIRST_COMPANY + customers)
    sandbox = Sandbox(settings.SNAPINSPECT_API_URL)
    for company in companies:
        owner = User.objects.create_user(f"{os.urandom(6).hex()}@example.com", "correct horse battery")
        troubled_connections.connect(
            sandbox, Customer.objects.create_with_owner(f"Company {company}", owner=owner), owner, 1, first=company
        )
    return list(companies)


def clear(go: Go) -> None:
    """No connections, as in the beginning."""
    go()
    Customer.objects.all().delete()
    CircuitBreaker.objects.all().delete()


def call(go: Go, *, connection: int, threads: int = 1, path: str = "user") -> dict[str, int]:
    """Calls SnapInspect with so many threads at once; how many were answered, and what kept the others from it."""
    row = Connection.objects.select_related("customer").get(pk=connection)
    ready = threading.Barrier(threads + 1)

    def one(_: int) -> str:
        try:
            connections["default"].ensure_connection()
            ready.wait(PATIENCE)
            ready.wait(PATIENCE)
            return f"answered {api_client.get(row, path).status}"
        except api_client.NoAnswer as failure:
            return failure.error_kind
        except DatabaseError as failure:
            return type(failure).__name__
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        calls = pool.map(one, range(threads))
        ready.wait(PATIENCE)
        go()
        ready.wait(PATIENCE)
        return dict(Counter(calls))


def disconnect(go: Go, *, connection: int) -> bool:
    go()
    row = Connection.objects.select_related("customer").get(pk=connection)
    return disconnection.disconnect(row, by=User.objects.get(memberships__customer=row.customer))


def guest(go: Go) -> int:
    """Somebody is back from SnapInspect to sign in; the pair that they brought is sealed."""
    go()
    attempt = ConnectAttempt.objects.create(
        purpose=Purpose.SIGN_IN, state_hash=os.urandom(32).hex(), session_hash="", issued_at=timezone.now()
    )
    granted = Sandbox(settings.SNAPINSPECT_API_URL).grant()
    guest_tokens.receive(attempt, token_pair.TokenPair(granted["access_token"], granted["refresh_token"]))
    return int(attempt.guest_pair.pk)


def hear(go: Go, *, introduction: int) -> None:
    """What a worker does with it."""
    go()
    sign_in.process(introduction)


def what_came_of(go: Go, *, introduction: int) -> dict[str, Any]:
    go()
    row = GuestTokenPair.objects.get(pk=introduction)
    return {"outcome": row.outcome, "kept": bool(row.sealed_access or row.sealed_refresh)}


def recover(go: Go, *, passed: float = 0) -> None:
    """What a worker does after a crash, until nothing is left to do; `passed` seconds are taken as gone by."""
    go()
    if passed:
        troubled_connections.pass_time(timedelta(seconds=passed))
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        jobs.sweep()
        jobs.drain.func()
        held = TokenPair.objects.exclude(pk__in=TokenPair.objects.unleased())
        guests = GuestTokenPair.objects.exclude(sealed_refresh=b"")
        if not (jobs.due() or held.exists() or guests.exists()):
            return
        time.sleep(0.1)
    raise TimeoutError


def schedule(go: Go, *, rounds: int) -> None:
    """What a worker does, so many times without a pause: look for what is due, and do it."""
    go()
    for _ in range(rounds):
        jobs.sweep()
        jobs.drain.func()


def look(go: Go, *, at_connections: list[int]) -> list[dict[str, Any]]:
    """The state of these connections, the pairs they use, and whether a call works."""
    go()
    found = []
    for row in Connection.objects.filter(pk__in=at_connections):
        try:
            works = api_client.get(row, "user").status == 200
        except api_client.NoAnswer:
            works = False
        row.refresh_from_db()
        in_use = TokenPair.objects.current().filter(connection=row).first()
        found.append(
            {
                "connection": row.pk,
                "state": row.state,
                "works": works,
                "fingerprint": in_use.fingerprint if in_use else "",
                "kept_aside": AuditEntry.objects.filter(kind="tokens.kept_aside", subject=row.code).count(),
                "pairs": row.pairs.count(),
                "told": bool(row.incident_since),
            }
        )
    return found


JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job
    for job in (make, settle, clear, call, disconnect, guest, hear, what_came_of, recover, schedule, look)
}


def stop_at(place: str, then: str) -> None:
    """Has this process die, or wait until it may go on, the first time it comes to that place."""
    where, name, side = PLACES[place]
    inner = getattr(where, name)
    here = Path(os.environ["FORK_SERVER_FOLDER"], str(os.getpid()))
    for left in (".reached", ".go"):  # by an earlier process that had the same id
        here.with_suffix(left).unlink(missing_ok=True)

    def arrive() -> None:
        setattr(where, name, inner)
        if then == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        here.with_suffix(".reached").touch()
        while not here.with_suffix(".go").exists():
            time.sleep(0.01)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if side == "before":
            arrive()
        result = inner(*args, **kwargs)
        if side == "after":
            arrive()
        return result

    setattr(where, name, wrapped)


def set_clock(skew: float) -> None:
    now, seconds = timezone.now, time.time
    timezone.now = lambda: now() + timedelta(seconds=skew)
    time.time = lambda: seconds() + skew


def run(job: dict[str, Any], go: Go) -> Any:
    if "at" in job:
        stop_at(job["at"], job["then"])
    if "lease" in job:
        leases.LEASE = timedelta(seconds=job["lease"])
    if "skew" in job:
        set_clock(job["skew"])
    if "spool" in job:
        settings.SPOOL_DIR = Path(job["spool"])
    if "busy" in job and database.vendor == "sqlite":
        database.settings_dict["OPTIONS"]["timeout"] = job["busy"]
    return JOBS[job["do"]](go, **job.get("with", {}))


def fork(job: dict[str, Any], gate: tuple[int, int]) -> tuple[int, int]:
    """A process for this job; its id, and where it says that it is ready, and then what it has found."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        os.close(gate[1])

        def go() -> None:
            os.write(writing, b"!")
            os.read(gate[0], 1)  # comes to an end when the parent closes its end

        os.write(writing, json.dumps(run(job, go)).encode())
        connections.close_all()
        status = 0
    except BaseException as problem:
        print(f"{job['do']}: {problem!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def main() -> None:
    for line in sys.stdin:
        gate = os.pipe()
        children = [fork(job, gate) for job in json.loads(line)]
        for _, reading in children:
            os.read(reading, 1)
        print(json.dumps([pid for pid, _ in children]), flush=True)
        os.close(gate[1])
        ended = []
        for pid, reading in children:
            with os.fdopen(reading, "rb") as answer:
                found = answer.read()
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            ended.append({"status": status, "found": json.loads(found) if found else None})
        os.close(gate[0])
        print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    main()

"""Loads Django once, then forks a process for every job; all jobs of a line start at the same moment.

`python -m tests.support.fork_server_jobs`, with the environment of a running app; `tests.support.fork_server` talks to
it. It reads lines of JSON, each a list of jobs, and answers each with two lines: the process ids, when all have
started; and, when all have ended, how each ended (its exit status, negative for a signal) and what it returned.

A job names a function below in `do`, with its arguments in `with`. Beside them it may say

    at, then    a place from `PLACES`, and what happens there: "die" (kill -9 to itself) or "wait" (for a file)
    lease       seconds that a lease lasts in this process
    skew        seconds by which this process's clock is wrong
    busy        seconds that SQLite waits for a lock
    spool       the spool folder of the host that this process stands for
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
    ConnectAttempt,
    Connection,
    ExchangeStatus,
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
TIMEOUT = 120.0  # seconds

Start = Callable[[], None]  # returns when all jobs start


def make_connections(
    *, number: int, bystanders: int = 0, code: str = "", first: int = troubled_connections.FIRST_COMPANY
) -> list[int]:
    """Makes connections of a new customer, or of the one with this code. Returns their ids.

    Bystanders are further connections, so that a few refusals do not look like an outage.
    """
    if code:
        customer = Customer.objects.get(code=code)
        owner = User.objects.get(memberships__customer=customer)
    else:
        owner = User.objects.create_user(f"{os.urandom(6).hex()}@example.com", "correct horse battery")
        customer = Customer.objects.create_with_owner("Acme Property", owner=owner)
    Connection.objects.bulk_create(
        Connection(customer=customer, state=State.CONNECTED, proved_at=timezone.now()) for _ in range(bystanders)
    )
    sandbox = Sandbox(settings.SNAPINSPECT_API_URL)
    return [made.pk for made in troubled_connections.connect(sandbox, customer, owner, number, first=first)]


def make_customers(*, number: int) -> list[int]:
    """Makes customers with one connection each. Returns the ids of their companies."""
    companies = range(troubled_connections.FIRST_COMPANY, troubled_connections.FIRST_COMPANY + number)
    sandbox = Sandbox(settings.SNAPINSPECT_API_URL)
    for company in companies:
        owner = User.objects.create_user(f"{os.urandom(6).hex()}@example.com", "correct horse battery")
        troubled_connections.connect(
            sandbox, Customer.objects.create_with_owner(f"Company {company}", owner=owner), owner, 1, first=company
        )
    return list(companies)


def clear() -> None:
    """Deletes all customers with their connections, and what was noted about exchanges."""
    Customer.objects.all().delete()
    ExchangeStatus.objects.all().delete()


def call(start: Start, *, connection: int, threads: int = 1) -> dict[str, int]:
    """Calls SnapInspect in so many threads at once. Returns how often each outcome occurred."""
    row = Connection.objects.select_related("customer").get(pk=connection)
    ready = threading.Barrier(threads + 1)

    def one(_: int) -> str:
        try:
            connections["default"].ensure_connection()
            ready.wait(TIMEOUT)
            ready.wait(TIMEOUT)
            return f"answered {api_client.get(row, 'user').status}"
        except api_client.NoAnswer as failure:
            return failure.error_kind
        except DatabaseError as failure:
            return type(failure).__name__
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        calls = pool.map(one, range(threads))
        ready.wait(TIMEOUT)
        start()
        ready.wait(TIMEOUT)
        return dict(Counter(calls))


def disconnect(*, connection: int) -> bool:
    row = Connection.objects.select_related("customer").get(pk=connection)
    return disconnection.disconnect(row, by=User.objects.get(memberships__customer=row.customer))


def make_guest_pair() -> int:
    """Stores the pair of somebody who returns from SnapInspect to sign in. Returns its id."""
    attempt = ConnectAttempt.objects.create(
        purpose=Purpose.SIGN_IN, state_hash=os.urandom(32).hex(), session_hash="", issued_at=timezone.now()
    )
    granted = Sandbox(settings.SNAPINSPECT_API_URL).grant()
    guest_tokens.receive(attempt, token_pair.TokenPair(granted["access_token"], granted["refresh_token"]))
    return int(attempt.guest_pair.pk)


def process_guest_pair(*, guest_pair: int) -> None:
    sign_in.process(guest_pair)


def guest_pair_state(*, guest_pair: int) -> dict[str, Any]:
    row = GuestTokenPair.objects.get(pk=guest_pair)
    return {"outcome": row.outcome, "kept": bool(row.sealed_access or row.sealed_refresh)}


def recover(*, passed: float = 0) -> None:
    """Sweeps and works until nothing is left to do, as if `passed` seconds had gone by."""
    if passed:
        troubled_connections.pass_time(timedelta(seconds=passed))
    give_up_at = time.monotonic() + TIMEOUT
    while time.monotonic() < give_up_at:
        jobs.sweep()
        jobs.work_off()
        held = TokenPair.objects.exclude(pk__in=TokenPair.objects.unleased())
        guests = GuestTokenPair.objects.exclude(sealed_refresh=b"")
        if not (jobs.due() or held.exists() or guests.exists()):
            return
        time.sleep(0.1)
    raise TimeoutError


def sweep_and_work(*, rounds: int) -> None:
    """Does what a worker does, without pauses."""
    for _ in range(rounds):
        jobs.sweep()
        jobs.work_off()


def connection_states(*, ids: list[int]) -> list[dict[str, Any]]:
    """What stands in the rows of these connections and their pairs, and whether a call works."""
    found = []
    for row in Connection.objects.filter(pk__in=ids):
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
                "incident": bool(row.incident_since),
            }
        )
    return found


JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job
    for job in (
        make_connections,
        make_customers,
        clear,
        disconnect,
        make_guest_pair,
        process_guest_pair,
        guest_pair_state,
        recover,
        sweep_and_work,
        connection_states,
    )
}


def stop_at(place: str, then: str) -> None:
    """Has this process die, or wait until it may go on, the first time it reaches that place."""
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


def run(job: dict[str, Any], start: Start) -> Any:
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
    if job["do"] == "call":
        return call(start, **job["with"])
    start()
    return JOBS[job["do"]](**job["with"])


def fork(job: dict[str, Any], gate: tuple[int, int]) -> tuple[int, int]:
    """A process for this job. Returns its id and a pipe: it writes one byte when ready, then its result."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        os.close(gate[1])

        def start() -> None:
            os.write(writing, b"!")
            os.read(gate[0], 1)  # returns when the parent closes its end

        os.write(writing, json.dumps(run(job, start)).encode())
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

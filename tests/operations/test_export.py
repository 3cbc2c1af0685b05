"""One file holds everything that is kept for a customer: nothing is forgotten, no secret and nobody else's is in it."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.db import models
from django.utils import timezone

from accounts.models import AuditEntry, Customer, Invitation, Role, User
from integrations.api import keys
from integrations.connecting import links, sessions
from integrations.models import (
    Connection,
    ConnectionTest,
    Delivery,
    Event,
    EventDelivery,
    ExplorerCall,
    HandlerRun,
    Kind,
    OutgoingMessage,
    PanelAnswer,
)
from integrations.operations import export
from tests.settings import SENTINEL
from tests.support.clients import OTHER, Sandbox, Visitor
from tests.support.deliveries import INSPECTION, INSPECTION_OF_OTHER, deliver, payload
from tests.support.many_events import make_events
from tests.support.measurements import record
from tests.support.secret_scan import found_in
from tests.support.sizes import size

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]

# What hangs on a customer and is no part of its data.
MACHINERY = {"EventQueue", "LookupLimit"}
# Of the person who asked alone, and gone after ten minutes; of a person who signs in, of no customer.
OF_A_PERSON = {"ExplorerAnswer", "GuestTokenPair"}
SECRET = {
    "sealed_access", "sealed_refresh", "sealed_secret", "secret_hash", "token_hash", "state_hash", "session_hash",
    "browser_hash", "key_id", "sealed_old_secret", "sealed_headers",
}  # fmt: skip
# Whose it is, which every line of one customer's file says; and what only our own work goes by.
WHOSE = {"customer", "event", "id"}
WORKING = {
    "version", "lease_owner", "lease_until", "exchange_sent_at", "exchange_sends", "room", "asks", "tries",
    "erase_after", "next_try_at", "next_check_at", "next_attempt_at", "next_ask_at", "next_notice_at", "notice",
    "failed_checks", "refused_at", "exchange_pending_since",
    "disconnects", "tests", "tests_since", "body_sha256", "content_sha256", "last_event",
    "at_event", "steps", "Replay.at", "ConnectAttempt.purpose", "PanelAnswer.detail", "Delivery.assigned_to",
    "AuditEntry.actor", "ApiKey.minute", "ApiKey.requests", "ConnectSession.pair", "ConnectAttempt.hosted",
    "due_at", "wait_until", "waits", "notice_at", "last_delivery", "at_delivery",
}  # fmt: skip


@pytest.fixture
def connection(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    return visit(alice).connect(acme, sandbox)


def read(lines: Iterator[str] | Any) -> dict[str, list[dict[str, Any]]]:
    """The lines of an export by their kind; the last one has to be right."""
    objects = [json.loads(line) for line in lines]
    assert objects[-1] == {"kind": "end", "lines": len(objects) - 1}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in objects:
        found.setdefault(row.pop("kind"), []).append(row)
    return found


def fill(customer: Customer, owner: User) -> None:
    """One row of each kind that connecting and one event do not make."""
    connection = customer.connections.get()
    Invitation.objects.create(
        customer=customer, email="dora@example.com", role=Role.VIEWER, expires_at=timezone.now(), token_hash="th"
    )
    links.issue(customer=customer, by=owner)
    sessions.issue(customer=customer, connection=connection, return_to="https://app.example/", by=owner)
    keys.issue(name="Automation", scopes=["events:read"], customer=customer, by=owner)
    ConnectionTest.objects.create(connection=connection, by=owner, name="Pat Harbour", answer={"iCompanyID": 6847})
    ExplorerCall.objects.create(connection=connection, customer=customer, by=owner, path="properties?page=2")
    PanelAnswer.objects.update_or_create(connection=connection, panel=None, defaults={"table": {"city": "Łódź"}})
    HandlerRun.objects.create(event=connection.events.get(), handler="handlers.print")
    personal = Connection.objects.create(customer=customer, kind=Kind.PERSONAL, own_name="By hand")
    personal.webhook_addresses.create(secret_hash="sh", sealed_secret=b"sealed", key_id="k")
    endpoint = customer.webhook_endpoints.create(url="https://acme.example/hook", types=["*"], key_id="k")
    message = OutgoingMessage.objects.create(customer=customer, type="endpoint.test", body='{"type": "endpoint.test"}')
    endpoint.deliveries.create(message=message).timeline.create(status=200, duration=timedelta(seconds=1))
    endpoint.resends.create(since=timezone.now(), matched=1, last_delivery=1, by=owner)
    customer.replays.create(matched=1, last_event=0, by=owner)
    Delivery.objects.create(connection=personal, body=b"\xff\x00", state=Delivery.State.QUARANTINED)


def test_everything_that_is_kept_for_a_customer_is_in_it_readably(
    connection: Connection, visit: Visit, alice: User, bob: User, acme: Customer
) -> None:
    deliver(payload())
    fill(acme, alice)
    Event.objects.update(content='{"long": "' + "x" * export.MAX_CONTENT_IN_BATCH + '"}')

    answer: Any = visit(alice).post(f"/c/{acme.code}/everything.jsonl")
    today = f"{timezone.now():%Y-%m-%d}"
    assert answer["Content-Disposition"] == f'attachment; filename="everything-{acme.code}-{today}.jsonl"'
    found = read(b"".join(answer.streaming_content).decode().splitlines())

    assert set(found) == {kind.name for kind in [*export.KINDS, *export.OF_AN_EVENT]} | {"export", "event", "end"}
    assert found["export"][0]["name"] == "Acme Property"
    assert [(row["email"], row["role"]) for row in found["member"]] == [
        ("alice@example.com", "owner"), ("bob@example.com", "member")
    ]  # fmt: skip
    (event,) = found["event"]
    assert (event["inspection_id"], event["connection"]) == (INSPECTION, connection.code)
    assert json.loads(event["content"])["long"].startswith("xxx")
    announced, parked = found["delivery"]
    assert json.loads(announced["body"]) == payload()
    assert (announced["event"], parked["event"]) == (event["code"], None)
    assert (parked["body_base64"], "body" in parked) == ("/wA=", False)
    assert found["panel"][0]["table"] == {"city": "Łódź"}
    assert found["audit entry"][-1]["what"] == "customer.exported"
    assert found["audit entry"][-1]["who"] == "alice@example.com"


def test_no_table_and_no_column_is_forgotten() -> None:
    """A new one is exported, or stands above with what it is. What goes with a customer's row is a part of it."""
    rows = [(kind, kind.rows(0)) for kind in export.KINDS] + [(kind, kind.rows([])) for kind in export.OF_AN_EVENT]
    exported = {found.model: {path.split("__")[0] for path in kind.fields.values()} for kind, found in rows}
    exported[Customer] = {"code", "name", "external_id", "created_at"}
    exported[Event] = {path.split("__")[0] for path in export.EVENT.values()} | {"content"}
    exported[Delivery] = {*export.DELIVERY, "connection"}
    waiting: list[type[models.Model]] = [Customer]
    forgotten: list[str] = []
    for model in waiting:
        if model.__name__ in MACHINERY | OF_A_PERSON:
            continue
        left = {field.name for field in model._meta.concrete_fields} - exported.get(model, set())
        named = {f"{model.__name__}.{column}" for column in left - SECRET - WHOSE - WORKING}
        forgotten += named - WORKING
        fields = model._meta.get_fields(include_hidden=True)
        hanging = [field.related_model for field in fields if getattr(field, "on_delete", None) is models.CASCADE]
        waiting += [model for model in hanging if model is not None and model not in waiting]
    assert len(waiting) > 15
    assert forgotten == []
    assert not SECRET & set().union(*exported.values())


def test_no_secret_is_in_it(
    connection: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer
) -> None:
    deliver(payload())
    fill(acme, alice)
    browser = visit(alice)
    browser.open_callback(sandbox.decide(browser.start_connect(acme)))  # a pair that is still on its way
    minted = [str(token["token"]) for token in sandbox.tokens()]

    whole = "".join(export.lines(acme)).encode()

    assert len(minted) > 4
    assert b"fingerprint" in whole
    assert found_in(whole, [*minted, SENTINEL]) == []


def test_nothing_of_another_customer_is_in_it_though_both_have_the_same_company(
    connection: Connection, sandbox: Sandbox, visit: Visit, alice: User, acme: Customer, charlie: User
) -> None:
    others = charlie.customers.get()
    same = visit(charlie).connect(others, sandbox)
    other = visit(charlie).connect(others, sandbox, account=OTHER)
    deliver(payload(), payload(inspection=INSPECTION_OF_OTHER, iCompanyID=7001))
    assert Event.objects.filter(connection__in=[same, other]).count() == 2

    whole = "".join(export.lines(acme))

    codes = Event.objects.exclude(connection=connection).values_list("code", flat=True)
    theirs = [others.code, others.name, charlie.email, same.code, other.code, INSPECTION_OF_OTHER, *codes]
    assert [words for words in theirs if words in whole] == []
    assert len(read(whole.splitlines())["delivery"]) == 1


def test_events_of_one_moment_and_many_repetitions_are_all_in_it(connection: Connection, acme: Customer) -> None:
    events = make_events(connection, 2 * export.BATCH + 1, received_at=timezone.now())
    for _ in range(export.BATCH + 1):
        delivery = Delivery.objects.create(body=b"{}", state=Delivery.State.PLACED)
        EventDelivery.objects.create(event=events[0], delivery=delivery)

    found = read(export.lines(acme))

    assert sorted(row["code"] for row in found["event"]) == sorted(event.code for event in events)
    assert [row["event"] for row in found["delivery"]] == [events[0].code] * (export.BATCH + 1)


def test_the_command_writes_the_same_into_a_new_file_for_the_operator_alone(
    connection: Connection, acme: Customer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "acme.jsonl"
    call_command("export_customer", acme.code, "--to", str(file))

    assert capsys.readouterr().out == f"Written: {file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert read(file.read_text().splitlines())["connection"][0]["code"] == connection.code
    entry = AuditEntry.objects.get(kind="customer.exported")
    assert (entry.customer, entry.actor) == (acme, None)

    with pytest.raises(CommandError, match="File exists"):
        call_command("export_customer", acme.code, "--to", str(file))
    with pytest.raises(CommandError, match="no customer with the code"):
        call_command("export_customer", "nosuchcode22", "--to", str(tmp_path / "nobody.jsonl"))
    assert not (tmp_path / "nobody.jsonl").exists()


def test_it_is_written_in_constant_memory_without_a_transaction(acme: Customer) -> None:
    connection = Connection.objects.create(customer=acme)
    count = size(2_000, 1_000_000)
    for _ in range(count // 1000):
        make_events(connection, 1000, content="x" * 500)

    tracemalloc.start()
    lines = 0
    for _ in export.lines(acme):
        lines += 1
        assert not database.in_atomic_block
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert lines == count + 4  # the customer, its owner, the connection, the end
    record("D37", "export of a customer", f"{count:,} events, {peak / 1e6:.1f} MB at most")
    assert peak < 8e6

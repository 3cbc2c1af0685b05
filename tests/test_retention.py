"""What is old goes by the stated rule, and nothing else does."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F, Model

from accounts import audit
from accounts.models import AuditEntry, Customer, User
from integrations import retention
from integrations.models import Check, ConnectAttempt, Connection, Delivery, Event, State
from tests.driving import Sandbox, Visitor, everything_kept
from tests.test_event_pages import announce, upload
from tests.world import ROOT

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[[User], Visitor]
YEARS = timedelta(days=2000)


@pytest.fixture
def connection(sandbox: Sandbox, visit: Visit, alice: User, acme: Customer) -> Connection:
    return visit(alice).connect(acme, sandbox)


def prune() -> dict[str, int]:
    return {rule.what: sum(retention.prune(rule, batch=2)) for rule in retention.RULES}


def age(model: type[Model], *fields: str, by: timedelta = YEARS) -> None:
    model._default_manager.update(**{field: F(field) - by for field in fields})


def test_what_is_fresh_stays(connection: Connection, sandbox: Sandbox, stranger: Any) -> None:
    announce(stranger, upload(sandbox))

    assert set(prune().values()) == {0}


def test_events_and_deliveries_go_with_all_that_hangs_on_them(
    connection: Connection, sandbox: Sandbox, stranger: Any
) -> None:
    for _ in range(5):
        announce(stranger, upload(sandbox))
    kept = everything_kept()
    age(Event, "finished_at")
    age(Delivery, "received_at")

    gone = prune()

    assert (gone["events"], gone["deliveries"]) == (5, 5)
    assert (Event.objects.count(), Delivery.objects.count()) == (0, 0)
    assert everything_kept() == kept


def test_work_that_is_not_done_stays_whatever_its_age(connection: Connection, sandbox: Sandbox, stranger: Any) -> None:
    announce(stranger, upload(sandbox))
    announce(stranger, upload(sandbox, company="7001"), company="7001")  # nobody's
    Event.objects.update(state=Event.State.RETRYING, finished_at=None)
    age(Event, "received_at")
    age(Delivery, "received_at")
    connection.move_to(State.DISCONNECTED)
    age(Connection, "state_since")

    prune()

    assert Event.objects.count() == 1
    assert set(Delivery.objects.values_list("state", flat=True)) == {"placed", "unmatched"}


def test_a_disconnected_connections_events_are_kept_for_thirty_days(
    connection: Connection, sandbox: Sandbox, stranger: Any
) -> None:
    announce(stranger, upload(sandbox))
    connection.move_to(State.DISCONNECTED)
    age(Connection, "state_since", by=timedelta(days=29))
    assert prune()["events of disconnected connections"] == 0

    age(Connection, "state_since", by=timedelta(days=2))

    assert prune()["events of disconnected connections"] == 1
    assert Connection.objects.count() == 1


def test_tests_and_the_audit_trail_go_by_their_own_ages(connection: Connection, alice: User, acme: Customer) -> None:
    Check.objects.create(connection=connection, by=alice)
    audit.record("connection.tested", customer=acme, actor=alice, subject=connection.code)
    age(Check, "at", by=timedelta(days=91))
    age(AuditEntry, "at", by=timedelta(days=731))

    gone = prune()

    assert gone["results of tests"] == 1
    assert gone["entries of the audit trail"] >= 1
    assert AuditEntry.objects.count() == 0


def test_an_attempt_is_forgotten_after_thirty_days(connection: Connection) -> None:
    age(ConnectAttempt, "issued_at", by=timedelta(days=31))

    assert prune()["attempts to connect"] == 1


def test_dry_run_counts_and_changes_nothing(
    connection: Connection, alice: User, capsys: pytest.CaptureFixture[str]
) -> None:
    Check.objects.create(connection=connection, by=alice)
    age(Check, "at")

    call_command("prune", "--dry-run")

    assert re.search(
        r"^ +1 results of tests, kept until 90 days after the test would go$", capsys.readouterr().out, re.M
    )
    assert Check.objects.count() == 1
    call_command("prune")
    assert Check.objects.count() == 0


def test_a_batch_has_rows_in_it() -> None:
    with pytest.raises(CommandError, match="at least 1"):
        call_command("prune", "--batch-size", "0")


def test_the_documents_state_the_rule() -> None:
    listed = re.findall(r"^\| (.+?) \| (\d+) days \| (.+?) \|$", (ROOT / "docs/backup.md").read_text(), re.MULTILINE)
    assert listed == [(rule.what, str(rule.kept.days), rule.since) for rule in retention.RULES]

"""What is old goes by the stated rule, and nothing else does."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection as database
from django.db.models import CASCADE, F, Model
from django.test.utils import CaptureQueriesContext

from accounts import audit
from accounts.models import AuditEntry, Customer, User
from integrations.models import ConnectAttempt, Connection, ConnectionTest, Delivery, Event, State
from integrations.operations import retention
from tests.pages.test_event import announce, upload
from tests.support.clients import Sandbox, Visitor, everything_kept
from tests.support.many_events import LAST, make_events
from tests.support.running_app import ROOT

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
    age(Event, "received_at", "finished_at")
    age(Delivery, "received_at")

    gone = prune()

    assert (gone["events"], gone["deliveries"]) == (5, 5)
    assert (Event.objects.count(), Delivery.objects.count()) == (0, 0)
    assert everything_kept() == kept


def test_work_that_is_not_done_stays_whatever_its_age(connection: Connection, sandbox: Sandbox, stranger: Any) -> None:
    announce(stranger, upload(sandbox))
    Event.objects.update(state=Event.State.RETRYING, finished_at=None)
    age(Event, "received_at")
    age(Delivery, "received_at")
    connection.move_to(State.NEEDS_RECONNECT)
    age(Connection, "state_since")

    prune()

    assert Event.objects.count() == 1
    assert not Delivery.objects.exists(), "what was posted is not needed any more"


def test_deliveries_that_nobody_has_routed_stay_whatever_their_age(stranger: Any) -> None:
    Delivery.objects.create(body=b"{}")
    age(Delivery, "received_at")
    prune()
    assert Delivery.objects.count() == 1


def test_parked_deliveries_are_kept_for_thirty_days(connection: Connection, sandbox: Sandbox, stranger: Any) -> None:
    announce(stranger, upload(sandbox, company="7001"), company="7001")  # nobody's
    age(Delivery, "received_at", by=timedelta(days=29))
    assert prune()["parked deliveries"] == 0

    age(Delivery, "received_at", by=timedelta(days=2))

    assert prune()["parked deliveries"] == 1
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("state", Event.State)
def test_a_disconnected_connections_events_are_kept_for_thirty_days_unfinished_ones_too(
    state: Event.State, connection: Connection, sandbox: Sandbox, stranger: Any
) -> None:
    announce(stranger, upload(sandbox))
    Event.objects.update(state=state)
    connection.move_to(State.DISCONNECTED)
    age(Connection, "state_since", by=timedelta(days=29))
    assert prune()["events of disconnected connections"] == 0

    age(Connection, "state_since", by=timedelta(days=2))

    assert prune()["events of disconnected connections"] == 1
    assert Connection.objects.count() == 1


def test_tests_and_the_audit_trail_go_by_their_own_ages(connection: Connection, alice: User, acme: Customer) -> None:
    ConnectionTest.objects.create(connection=connection, by=alice)
    audit.record("connection.tested", customer=acme, actor=alice, subject=connection.code)
    age(ConnectionTest, "at", by=timedelta(days=91))
    age(AuditEntry, "at", by=timedelta(days=731))

    gone = prune()

    assert gone["results of tests"] == 1
    assert gone["entries of the audit trail"] >= 1
    assert AuditEntry.objects.count() == 0


def test_an_attempt_is_forgotten_after_thirty_days(connection: Connection) -> None:
    age(ConnectAttempt, "issued_at", by=timedelta(days=31))

    assert prune()["attempts to connect"] == 1


def test_where_somebody_was_signed_in_is_forgotten_with_the_session(visit: Visit, alice: User, bob: User) -> None:
    for user in (alice, bob):
        key = visit(user).session.session_key
        UserSession.objects.create(user=user, session_key=key, ip="192.0.2.1", user_agent="Firefox")
    Session.objects.get(session_key=UserSession.objects.get(user=alice).session_key).delete()

    assert prune()["addresses and browsers of sessions"] == 1
    assert UserSession.objects.get().user == bob


def test_what_stays_is_not_looked_at_again_for_every_batch(connection: Connection) -> None:
    make_events(connection, 4, state=Event.State.RETRYING)
    make_events(connection, 6, finished_at=LAST - YEARS)
    age(Event, "received_at", by=YEARS)
    (rule,) = [rule for rule in retention.RULES if rule.what == "events"]

    with CaptureQueriesContext(database) as asked:
        assert list(retention.prune(rule, batch=2)) == [2, 2, 2]
    looks = [query["sql"] for query in asked.captured_queries if "LIMIT 2" in query["sql"]]
    assert len(looks) == 4
    assert all('"id" > ' in look for look in looks[1:])
    assert Event.objects.count() == 4


# Tables that no age applies to, and why: what somebody has set up, or one row for each of a few things.
KEPT = {
    "accounts.Customer", "accounts.User", "accounts.Membership", "integrations.Connection", "integrations.Panel",
    "integrations.LinkedUser", "account.EmailAddress", "mfa.Authenticator", "auth.Group", "auth.Permission",
    "contenttypes.ContentType", "integrations.ApiKey", "integrations.WebhookEndpoint",  # set up
    "integrations.TokenPair", "integrations.EventQueue", "integrations.LookupLimit", "integrations.ExchangeStatus",
    "integrations.NamedLock",  # one for each connection, customer, or of all
    "account.EmailConfirmation",  # unused: the links in mails are signed instead
    "integrations.PanelAnswer", "integrations.ExplorerAnswer", "integrations.Worker",
}  # fmt: skip


def test_every_table_has_its_age_or_a_reason() -> None:
    aged = [rule.rows.model for rule in retention.RULES]
    for model in aged:  # which grows
        relations = [field for field in model._meta.get_fields(include_hidden=True) if hasattr(field, "on_delete")]
        hanging = [relation.related_model for relation in relations if relation.on_delete is CASCADE]
        aged += [table for table in hanging if table not in aged]
    ageless = {model._meta.label for model in apps.get_models()} - {model._meta.label for model in aged}
    assert ageless - KEPT == set(), "a rule in integrations/operations/retention.py, or a reason above"


def test_dry_run_counts_and_changes_nothing(
    connection: Connection, alice: User, capsys: pytest.CaptureFixture[str]
) -> None:
    ConnectionTest.objects.create(connection=connection, by=alice)
    age(ConnectionTest, "at")

    call_command("prune", "--dry-run")

    assert re.search(
        r"^ +1 results of tests, kept until 90 days after the test would be deleted$", capsys.readouterr().out, re.M
    )
    assert ConnectionTest.objects.count() == 1
    call_command("prune")
    assert ConnectionTest.objects.count() == 0


def test_the_documents_state_the_rule() -> None:
    listed = re.findall(r"^\| (.+?) \| (\d+) days \| (.+?) \|$", (ROOT / "docs/backup.md").read_text(), re.MULTILINE)
    assert listed == [(rule.what, str(rule.kept.days), rule.since) for rule in retention.RULES]

"""Row O11: migrations are taken back and run again."""

import pytest

from tests.conftest import AppFactory
from tests.support.running_app import RunningApp
from tests.support.versions import FIRST_VERSION

pytestmark = [pytest.mark.slow, pytest.mark.processes]

MIGRATE = """
from functools import partial
from django.core.management import call_command
migrate = partial(call_command, "migrate", verbosity=0)
"""
ROWS = """
from accounts import audit; from accounts.models import *; from integrations.models import *
from django.utils import timezone
alice = User.objects.create_user("alice@example.com")
acme = Customer.objects.create_with_owner("Acme", owner=alice)
connection = Connection.objects.create(customer=acme, company_name="Harbour", own_name="North")
Event.objects.create(connection=connection, inspection_id="1001", received_at=timezone.now())
audit.record("customer.started", customer=acme, actor=alice)
for purpose, whose in {"connect": {"user": alice, "customer": acme}, "link": {"user": alice}, "sign_in": {}}.items():
    attempt = ConnectAttempt.objects.create(purpose=purpose, state_hash=purpose, issued_at=timezone.now(), **whose)
GuestTokenPair.objects.create(attempt=attempt)
"""
STAY = """
SELECT company_name, inspection_id, accounts_auditentry.kind, email FROM integrations_connection
JOIN integrations_event ON connection_id = integrations_connection.id
JOIN accounts_auditentry ON accounts_auditentry.customer_id = integrations_connection.customer_id
JOIN accounts_user ON actor_id = accounts_user.id
"""


def schema(running_app: RunningApp) -> set[tuple[object, ...]]:
    if running_app.is_on_postgresql:
        columns = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        return {
            *running_app.rows(f"{columns} WHERE table_schema = 'public'"),
            *running_app.rows("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"),
            *running_app.rows("SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conname !~ '^pg_'"),
        }
    return set(running_app.rows("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))


def test_O11_they_can_be_taken_back_and_run_again_with_rows_in_the_tables(new_app: AppFactory) -> None:
    running_app = new_app()
    whole = schema(running_app)
    back = "".join(f"migrate({app!r}, {name!r})\n" for app, name in reversed(FIRST_VERSION.items()))
    running_app.manage("shell", "--verbosity", "0", "-c", MIGRATE + ROWS + back)
    stays = running_app.rows(STAY)
    assert stays == [("Harbour", "1001", "customer.started", "alice@example.com")]

    running_app.manage("migrate", "--verbosity", "0")
    assert (running_app.rows(STAY), schema(running_app)) == (stays, whole)

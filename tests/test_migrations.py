"""Migrations run while the version before them still serves, and can be taken back.

The version before must be able to write into the new schema, and must not wait: no large table is locked for as long
as it takes to read it. The rules are tried on every migration there is; none is exempt.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import models
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import (
    AddField,
    AlterField,
    AlterModelOptions,
    CreateModel,
    DeleteModel,
    RemoveField,
    RenameField,
    RenameIndex,
    RenameModel,
    RunPython,
    RunSQL,
)
from django.db.migrations.operations.base import Operation

from accounts.indexing import AddIndexOnline, RemoveIndexOnline
from tests.conftest import OpenWorld
from tests.world import World, wait_until

OURS = {"accounts", "integrations"}
# Tables that grow with what happens; all others hold a few rows for each customer, or are kept short.
LARGE = {"auditentry", "delivery", "event", "eventdelivery", "attempt", "handlerrun"}


def steps() -> Iterator[tuple[str, Migration, Operation]]:
    """Every operation of ours on a table that was there before: its migration by name and by itself, and its table."""
    for (app, name), migration in sorted(MigrationLoader(None).disk_migrations.items()):
        if app in OURS:
            new = {operation.name_lower for operation in migration.operations if isinstance(operation, CreateModel)}
            for operation in migration.operations:
                if table_of(operation) not in new:
                    yield f"{app}.{name}: {operation.describe()}", migration, operation


def table_of(operation: Operation) -> str:
    return str(getattr(operation, "model_name", getattr(operation, "name", ""))).lower()


def test_O11_the_version_before_can_write_rows_without_the_columns_that_were_added() -> None:
    in_its_way = [
        told
        for told, _, operation in steps()
        if isinstance(operation, AddField) and not operation.field.null and not operation.field.has_db_default()
    ]
    assert in_its_way == [], "give them a db_default"


def test_O11_nothing_is_renamed_taken_away_or_narrowed_under_the_version_before() -> None:
    """Two releases: first the models forget it (SeparateDatabaseAndState), a release later the database does."""
    loader = MigrationLoader(None)
    found = []
    for (app, name), migration in loader.disk_migrations.items():
        if app not in OURS:
            continue
        state = loader.project_state((app, name), at_end=False)
        for operation in migration.operations:
            if isinstance(operation, RemoveField | RenameField | RenameModel | DeleteModel) or (
                isinstance(operation, AlterField)
                and narrows(state.models[app, operation.model_name_lower].fields[operation.name], operation.field)
            ):
                found.append(f"{app}.{name}: {operation.describe()}")
            operation.state_forwards(app, state)
    assert found == []


def narrows(before: "models.Field[Any, Any]", after: "models.Field[Any, Any]") -> bool:
    """Whether a value that fitted before might not any more, or does not look the same."""
    return (
        type(before) is not type(after)
        or (before.null and not after.null)
        or (before.has_db_default() and not after.has_db_default())
        or (after.unique and not before.unique)
        or (before.max_length or 0) > (after.max_length or before.max_length or 0)
    )


def test_O11_no_large_table_is_locked_for_as_long_as_it_takes_to_read_it() -> None:
    def is_quick(operation: Operation) -> bool:
        if isinstance(operation, AddField):
            field = operation.field
            return not (field.is_relation or field.unique or getattr(field, "db_index", False))
        return isinstance(operation, AddIndexOnline | RemoveIndexOnline | RenameIndex | AlterModelOptions)

    slow = [told for told, _, operation in steps() if table_of(operation) in LARGE and not is_quick(operation)]
    assert slow == [], "see docs/contributing.md, A migration"


def test_O11_data_is_moved_outside_a_transaction_and_every_step_can_be_taken_back() -> None:
    found = []
    for told, migration, operation in steps():
        if isinstance(operation, RunPython) and operation.code != RunPython.noop and migration.atomic:
            found.append(f"{told}: in one transaction")
        if isinstance(operation, RunPython | RunSQL) and not operation.reversible:
            found.append(f"{told}: cannot be taken back")
    assert found == []


# --- For real -------------------------------------------------------------------------------------------------------

MIGRATE = """
from functools import partial
from django.core.management import call_command
migrate = partial(call_command, "migrate", verbosity=0)
"""
ROWS = """
from accounts import audit; from accounts.models import *; from integrations.models import *
from django.utils import timezone
alice = User.objects.create_user("alice@example.com")
acme = Customer.objects.open("Acme", owner=alice)
connection = Connection.objects.create(customer=acme, company_name="Harbour", own_name="North")
Event.objects.create(connection=connection, inspection_id="1001", received_at=timezone.now())
audit.record("customer.started", customer=acme, actor=alice)
for purpose, whose in {"connect": {"user": alice, "customer": acme}, "link": {"user": alice}, "sign_in": {}}.items():
    attempt = ConnectAttempt.objects.create(purpose=purpose, state_hash=purpose, issued_at=timezone.now(), **whose)
Introduction.objects.create(attempt=attempt)
"""
STAY = """
SELECT company_name, inspection_id, accounts_auditentry.kind, email FROM integrations_connection
JOIN integrations_event ON connection_id = integrations_connection.id
JOIN accounts_auditentry ON accounts_auditentry.customer_id = integrations_connection.customer_id
JOIN accounts_user ON actor_id = accounts_user.id
"""


def schema(world: World) -> set[tuple[object, ...]]:
    if world.is_on_postgresql:
        columns = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        return {
            *world.rows(f"{columns} WHERE table_schema = 'public'"),
            *world.rows("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"),
            *world.rows("SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conname !~ '^pg_'"),
        }
    return set(world.rows("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))


def run(world: World, lines: str) -> None:
    world.manage("shell", "--verbosity", "0", "-c", MIGRATE + lines)


@pytest.mark.processes
def test_O11_they_can_be_taken_back_and_run_again_with_rows_in_the_tables(open_world: OpenWorld) -> None:
    world = open_world()
    whole = schema(world)
    # As far as the tables of these rows were made; all before that makes tables and nothing else.
    run(world, ROWS + 'migrate("integrations", "0002"); migrate("accounts", "0001")')
    stays = world.rows(STAY)
    assert stays == [("Harbour", "1001", "customer.started", "alice@example.com")]

    run(world, "migrate()")
    assert (world.rows(STAY), schema(world)) == (stays, whole)
    assert world.rows("SELECT actor_name FROM accounts_auditentry") == [("alice@example.com",)]


@pytest.mark.processes
def test_O11_deliveries_are_written_while_an_index_is_built_and_a_build_that_was_interrupted_is_repeated(
    open_world: OpenWorld,
) -> None:
    world = open_world()
    if not world.is_on_postgresql:
        pytest.skip("SQLite has one writer at a time: others wait for it, or SnapInspect tries again.")
    whole = schema(world)
    run(world, 'migrate("integrations", "0009")')
    url = world.environment["DATABASE_URL"]
    # What a transaction that has written an event holds, and one that is about to write waits for.
    writing = "LOCK TABLE integrations_event IN ROW EXCLUSIVE MODE"
    building = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"

    with psycopg.connect(url) as one:
        one.execute(writing)
        build = world.start("migrate", "manage.py", "migrate", "--verbosity", "0")
        wait_until(lambda: world.rows(building) != [])
        with psycopg.connect(url, options="-c lock_timeout=10s") as another:
            another.execute(writing)
        world.rows(f"SELECT pg_cancel_backend(pid) FROM ({building}) AS found")
        assert build.wait(60) != 0
    assert world.rows("SELECT indisvalid FROM pg_index WHERE NOT indisvalid") == [(False,)]

    run(world, "migrate()")
    assert world.rows("SELECT indisvalid FROM pg_index WHERE NOT indisvalid") == []
    assert schema(world) == whole

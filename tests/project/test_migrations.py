"""Migrations after the first version run while the version before them still serves, and can be taken back.

The version before must be able to write into the new schema, and must not wait: no large table is locked for as long
as it takes to read it. The rules are tried on every one of these migrations; none is exempt.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.db import NotSupportedError, OperationalError, connection, connections, models
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import (
    AddField,
    AddIndex,
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
from django.db.migrations.state import ProjectState

from accounts.online_indexes import AddIndexOnline, RemoveIndexOnline
from tests.support.versions import FIRST_VERSION, follows
from tests.support.wait import wait_until

# Tables that grow with what happens; all others hold a few rows for each customer, or are kept short.
LARGE = {
    "auditentry", "delivery", "event", "eventdelivery", "attempt", "handlerrun",
    "outgoingmessage", "outgoingdelivery", "deliverytry",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """An operation on a table that was there before its migration; `state`: the models before it."""

    migration: Migration
    operation: Operation
    state: ProjectState

    @property
    def table(self) -> str:
        return str(getattr(self.operation, "model_name", getattr(self.operation, "name", ""))).lower()

    def __str__(self) -> str:
        return f"{self.migration.app_label}.{self.migration.name}: {self.operation.describe()}"


def steps_of(migration: Migration, state: ProjectState) -> Iterator[Step]:
    new = {operation.name_lower for operation in migration.operations if isinstance(operation, CreateModel)}
    for operation in migration.operations:
        step = Step(migration, operation, state.clone())
        if step.table not in new:
            yield step
        operation.state_forwards(migration.app_label, state)


def steps() -> Iterator[Step]:
    loader = MigrationLoader(None)
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        if app in FIRST_VERSION and follows(app, name):
            yield from steps_of(migration, loader.project_state((app, name), at_end=False))


def cannot_be_written_by_the_version_before(step: Step) -> bool:
    added = step.operation
    return isinstance(added, AddField) and not added.field.null and not added.field.has_db_default()


def takes_away_or_narrows(step: Step) -> bool:
    operation = step.operation
    if isinstance(operation, AlterField):
        before = step.state.models[step.migration.app_label, operation.model_name_lower].fields[operation.name]
        return narrows(before, operation.field)
    return isinstance(operation, RemoveField | RenameField | RenameModel | DeleteModel)


def narrows(before: "models.Field[Any, Any]", after: "models.Field[Any, Any]") -> bool:
    """Whether a value that fitted before might not any more, or does not look the same."""
    return (
        type(before) is not type(after)
        or (before.null and not after.null)
        or (before.has_db_default() and not after.has_db_default())
        or (after.unique and not before.unique)
        or (before.max_length or 0) > (after.max_length or before.max_length or 0)
    )


def locks_a_large_table(step: Step) -> bool:
    operation = step.operation
    if isinstance(operation, AddField):
        field = operation.field
        is_quick = not (field.is_relation or field.unique or getattr(field, "db_index", False))
    else:
        is_quick = isinstance(operation, AddIndexOnline | RemoveIndexOnline | RenameIndex | AlterModelOptions)
    return step.table in LARGE and not is_quick


def moves_data_in_one_transaction(step: Step) -> bool:
    operation = step.operation
    return isinstance(operation, RunPython) and operation.code != RunPython.noop and bool(step.migration.atomic)


def cannot_be_taken_back(step: Step) -> bool:
    return isinstance(step.operation, RunPython | RunSQL) and not step.operation.reversible


def test_O11_the_version_before_can_write_rows_without_the_columns_that_were_added() -> None:
    found = [str(step) for step in steps() if cannot_be_written_by_the_version_before(step)]
    assert found == [], "give them a db_default"


def test_O11_nothing_is_renamed_taken_away_or_narrowed_under_the_version_before() -> None:
    """Two releases: first the models forget it (SeparateDatabaseAndState), a release later the database does."""
    assert [str(step) for step in steps() if takes_away_or_narrows(step)] == []


def test_O11_no_large_table_is_locked_for_as_long_as_it_takes_to_read_it() -> None:
    known = {model._meta.model_name for app in FIRST_VERSION for model in apps.get_app_config(app).get_models()}
    assert known >= LARGE
    found = [str(step) for step in steps() if locks_a_large_table(step)]
    assert found == [], "see docs/contributing.md, A migration"


def test_O11_data_is_moved_outside_a_transaction_and_every_step_can_be_taken_back() -> None:
    assert [str(step) for step in steps() if moves_data_in_one_transaction(step)] == []
    assert [str(step) for step in steps() if cannot_be_taken_back(step)] == []


def do_nothing(apps: Any, schema_editor: Any) -> None:
    """In place of what a migration does with rows."""


INDEX = models.Index(fields=["review_id"], name="made_by_a_test")


@pytest.mark.parametrize(
    ("refuses", "operation"),
    [
        (cannot_be_written_by_the_version_before, AddField("namedlock", "count", models.IntegerField(default=0))),
        (takes_away_or_narrows, RemoveField("namedlock", "room")),
        (takes_away_or_narrows, RenameField("namedlock", "room", "space")),
        (takes_away_or_narrows, RenameModel("NamedLock", "Lock")),
        (takes_away_or_narrows, DeleteModel("NamedLock")),
        (takes_away_or_narrows, AlterField("event", "type", models.CharField(max_length=50))),
        (takes_away_or_narrows, AlterField("event", "type", models.TextField())),
        (takes_away_or_narrows, AlterField("event", "type", models.CharField(max_length=100, unique=True))),
        (takes_away_or_narrows, AlterField("event", "finished_at", models.DateTimeField())),
        (takes_away_or_narrows, AlterField("event", "next_attempt_at", models.DateTimeField())),
        (locks_a_large_table, AddIndex("event", INDEX)),
        (locks_a_large_table, AddField("event", "number", models.IntegerField(null=True, unique=True))),
        (locks_a_large_table, AddField("event", "number", models.IntegerField(null=True, db_index=True))),
        (locks_a_large_table, AlterField("event", "type", models.CharField(max_length=200))),
        (moves_data_in_one_transaction, RunPython(do_nothing, RunPython.noop)),
        (cannot_be_taken_back, RunPython(do_nothing)),
        (cannot_be_taken_back, RunSQL("SELECT 1")),
    ],
    ids=lambda value: value.describe() if isinstance(value, Operation) else value.__name__,
)
def test_O11_the_rules_refuse(refuses: Callable[[Step], bool], operation: Operation) -> None:
    assert refuses(step_of(operation))


@pytest.mark.parametrize(
    "operation",
    [
        AddField("event", "number", models.IntegerField(db_default=0)),
        AddField("namedlock", "number", models.IntegerField(null=True, unique=True)),
        AlterField("namedlock", "name", models.CharField(max_length=40, primary_key=True)),
        AddIndexOnline("event", INDEX),
        RunSQL("SELECT 1", RunSQL.noop),
    ],
    ids=Operation.describe,
)
def test_O11_the_rules_let_pass(operation: Operation) -> None:
    step = step_of(operation)
    rules = [
        cannot_be_written_by_the_version_before, takes_away_or_narrows, locks_a_large_table,
        moves_data_in_one_transaction, cannot_be_taken_back,
    ]  # fmt: skip
    assert [rule.__name__ for rule in rules if rule(step)] == []


def migration_of(operation: Operation, *, atomic: bool = True) -> Migration:
    made: Migration = type("MadeUp", (Migration,), {"operations": [operation], "atomic": atomic})(
        "made_up", "integrations"
    )
    return made


def step_of(operation: Operation) -> Step:
    (step,) = steps_of(migration_of(operation), MigrationLoader(None).project_state())
    return step


# --- For real -------------------------------------------------------------------------------------------------------


def run(operation: Operation, *, back: bool = False, atomic: bool = False) -> None:
    """Runs a migration of this one operation, or takes it back."""
    migration = migration_of(operation, atomic=atomic)
    state = MigrationLoader(connection).project_state()
    if isinstance(operation, RemoveIndexOnline):
        AddIndexOnline("event", INDEX).state_forwards("integrations", state)
    with connection.schema_editor(atomic=atomic) as editor:
        (migration.unapply if back else migration.apply)(state, editor)


def run_in_thread(operation: Operation) -> None:
    try:
        run(operation)
    finally:
        connections.close_all()


def is_there() -> bool:
    with connection.cursor() as cursor:
        return INDEX.name in connection.introspection.get_constraints(cursor, "integrations_event")


@pytest.fixture
def without_index() -> Iterator[None]:
    yield
    run(AddIndexOnline("event", INDEX), back=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_index")
def test_O11_an_index_of_a_large_table_is_built_and_dropped_and_each_may_be_repeated() -> None:
    add, remove = AddIndexOnline("event", INDEX), RemoveIndexOnline("event", INDEX.name)
    for operation, back, there in [
        (add, False, True), (add, True, False), (remove, True, True), (remove, False, False),
    ]:  # fmt: skip
        for _ in range(2):
            run(operation, back=back)
            assert is_there() == there


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_index")
@pytest.mark.slow
def test_O11_deliveries_are_written_while_an_index_is_built_and_a_build_that_was_interrupted_is_repeated() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time: others wait for it, or SnapInspect tries again.")
    add = AddIndexOnline("event", INDEX)
    with pytest.raises(NotSupportedError):
        run(add, atomic=True)

    with writes_an_event(), ThreadPoolExecutor(1) as thread:
        build = thread.submit(run_in_thread, add)
        building = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"
        )
        wait_until(lambda: rows(building) != [])
        with writes_an_event():
            pass
        rows(f"SELECT pg_cancel_backend(pid) FROM ({building}) AS found")
        with pytest.raises(OperationalError):
            build.result(60)
    assert rows("SELECT indisvalid FROM pg_index WHERE NOT indisvalid") == [(False,)]

    run(add)
    assert is_there()
    assert rows("SELECT indisvalid FROM pg_index WHERE NOT indisvalid") == []


@contextmanager
def writes_an_event() -> Iterator[None]:
    """Another transaction holds what one that has written an event holds."""
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("SET lock_timeout = '30s'")
            cursor.execute("LOCK TABLE integrations_event IN ROW EXCLUSIVE MODE")
        yield
    finally:
        other.close()


def rows(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found

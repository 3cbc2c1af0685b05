"""Which room may import what. The table is the map of the house; any arrow that is not in it fails."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent

# What stores rows and says who did it: for every room that works for a customer.
ROWS = "django accounts.audit accounts.models integrations.models"
# What SnapInspect's client says, without the means to make one: that takes a token.
ANSWERS = (
    "integrations.snapinspect.errors integrations.snapinspect.client.Client integrations.snapinspect.client.Answer"
)

EVENTS = "integrations.snapinspect.events integrations.snapinspect.answers.Json"

# Room (a module, or a package with all below it) -> what it may import beside the standard library and itself.
# A name that goes on after the module lets in that one object only.
ARROWS = {
    # Who is here. Knows nothing of SnapInspect.
    "accounts.models": "django",
    "accounts.access": "django accounts.models",
    "accounts.audit": "django accounts.models",
    "accounts.indexing": "django",
    "accounts.choices": "django accounts.models accounts.audit",
    "accounts": "django allauth",  # pages, forms, admin, commands
    # What SnapInspect's protocol says: no ORM, no HttpRequest.
    "integrations.snapinspect": "requests urllib3 requests_oauthlib oauthlib",
    # The stand-in: a program of its own, that nobody imports.
    "integrations.sandbox": "",
    # Rows: no HTTP, no cryptography.
    "integrations.models": "django accounts.models",
    "integrations.migrations": "django accounts.models accounts.indexing",
    "integrations.encryption": "django.conf cryptography",
    "integrations.spool": "django.conf",
    "integrations.state": "django accounts.models integrations.models",
    # Counts what happens; nobody depends on its being there.
    "integrations.meters": "django.conf prometheus_client integrations.snapinspect.errors",
    # Custody: alone in sealing, unsealing and exchanging.
    "integrations.sealing": (
        "django.conf integrations.models integrations.encryption integrations.spool integrations.meters"
        " integrations.snapinspect"
    ),
    "integrations.leasing": f"{ROWS} integrations.sealing integrations.spool integrations.encryption.CannotUnseal"
    " integrations.meters integrations.snapinspect",
    "integrations.tokens": f"{ROWS} integrations.leasing integrations.sealing integrations.spool"
    " integrations.snapinspect",
    "integrations.homecoming": "django integrations.spool integrations.tokens",
    "integrations.guest_tokens": (
        f"{ROWS} integrations.tokens integrations.leasing integrations.sealing integrations.snapinspect"
    ),
    # Work with what custody lends, from the single question to the whole errand.
    "integrations.patience": "",
    "integrations.proving": f"{ANSWERS} integrations.snapinspect.profile.Profile",
    "integrations.exchanging": f"{ROWS} {ANSWERS} integrations.leasing integrations.proving",
    "integrations.breaker": ROWS,
    "integrations.renewal": (
        f"{ROWS} integrations.tokens integrations.leasing integrations.proving integrations.exchanging"
        " integrations.breaker integrations.patience integrations.encryption.CannotUnseal"
    ),
    "integrations.health": (
        f"{ROWS} {ANSWERS} integrations.tokens integrations.proving integrations.renewal integrations.breaker"
        " integrations.patience integrations.limits integrations.encryption.CannotUnseal"
        " integrations.snapinspect.client.Shown"
    ),
    "integrations.finishing": (
        f"{ROWS} integrations.leasing integrations.proving integrations.exchanging integrations.patience"
        " integrations.inbox integrations.encryption.CannotUnseal"
        " integrations.breaker integrations.webhook_addresses"
    ),
    "integrations.introductions": (
        f"{ROWS} {ANSWERS} accounts.access integrations.guest_tokens integrations.leasing.LostLease"
        " integrations.proving integrations.encryption.CannotUnseal integrations.snapinspect.profile"
    ),
    "integrations.connect_links": ROWS,
    # What people who wait for a page may ask SnapInspect, and how it is shown.
    "integrations.limits": "",
    "integrations.shaping": "integrations.snapinspect.answers.Json",
    "integrations.panels": (
        f"{ROWS} integrations.health integrations.shaping integrations.snapinspect.errors"
        " integrations.snapinspect.profile.Profile"
    ),
    "integrations.exploring": (
        f"{ROWS} integrations.health integrations.shaping integrations.snapinspect.addresses"
        " integrations.snapinspect.client.Shown"
    ),
    "integrations.parting": f"{ROWS} integrations.tokens integrations.leasing",
    "integrations.closing": ROWS,
    "integrations.exporting": ROWS,
    "integrations.notices": f"{ROWS} accounts.choices",
    "integrations.digest": f"{ROWS} accounts.choices integrations.notices",
    # Keys: which are needed, and moving everything to the newest without reading it.
    "integrations.keys": f"{ROWS} integrations.encryption",
    # What goes by its age.
    "integrations.retention": f"{ROWS} allauth.usersessions.models.UserSession",
    # Rows that are made up, to try things out at size.
    "integrations.seeding": f"{ROWS} integrations.tokens",
    "integrations.resealing": (
        f"{ROWS} integrations.encryption integrations.keys integrations.tokens integrations.spool"
    ),
    # The door for SnapInspect's server, and what becomes of a delivery behind it.
    "integrations.webhook_addresses": f"{ROWS} integrations.encryption",
    "integrations.webhooks": (
        "django integrations.models integrations.webhook_addresses integrations.tasks integrations.meters"
    ),
    "integrations.inbox": ROWS,
    "integrations.placing": f"{ROWS} integrations.snapinspect.events",
    "integrations.handlers": f"{ROWS} integrations.snapinspect.answers.Json",
    "integrations.lookups": f"{ROWS} {EVENTS} integrations.health",
    "integrations.processing": f"{ROWS} integrations.handlers integrations.lookups integrations.patience",
    "integrations.lanes": f"{ROWS} integrations.processing integrations.meters",
    "integrations.recovery": (
        f"{ROWS} {ANSWERS} {EVENTS} integrations.snapinspect.addresses integrations.health integrations.lanes"
        " integrations.patience"
    ),
    "integrations.tasks": (
        f"{ROWS} django_tasks django_tasks_db structlog integrations.tokens integrations.health integrations.finishing"
        " integrations.renewal integrations.parting integrations.notices integrations.inbox integrations.placing"
        " integrations.lanes integrations.recovery integrations.replays integrations.introductions"
        " integrations.digest integrations.limits"
    ),
    "integrations.operations": (f"{ROWS} django_tasks_db integrations.encryption integrations.keys integrations.lanes"),
    "integrations.gauges": "integrations.operations integrations.meters",
    # Another way to wake workers; loaded by its name in a setting.
    "integrations.redis_queue": "django django_tasks huey redis",
    # What people see.
    "integrations.numbers": ROWS,
    "integrations.chart": "integrations.numbers",
    "integrations.wording": "integrations.snapinspect.errors",
    "integrations.context_processors": "django accounts.models integrations.models",
    "integrations.templatetags": "django integrations.models integrations.wording integrations.chart",
    "integrations.spreadsheets": "django.http",
    "integrations.selection": ROWS,
    "integrations.replays": f"{ROWS} integrations.inbox integrations.selection",
    "integrations.forms": (
        f"{ROWS} integrations.selection integrations.wording integrations.shaping integrations.snapinspect.addresses"
        " integrations.snapinspect.pair.is_token"
    ),
    "integrations.views": (
        f"{ROWS} accounts.access accounts.admission accounts.choices allauth.account.decorators integrations.state"
        " integrations.tokens"
        " integrations.leasing integrations.guest_tokens integrations.introductions integrations.health"
        " integrations.finishing integrations.operations"
        " integrations.parting integrations.retention integrations.tasks integrations.forms integrations.wording"
        " integrations.connect_links integrations.numbers integrations.chart"
        " integrations.panels integrations.exploring integrations.spreadsheets integrations.selection"
        " integrations.replays integrations.exporting"
        " integrations.inbox integrations.webhook_addresses integrations.encryption.CannotUnseal"
        " integrations.snapinspect.authorization integrations.snapinspect.errors"
    ),
    "integrations.urls": "django integrations.views integrations.webhooks",
    "integrations.admin": (
        f"{ROWS} accounts.access accounts.admin integrations.health integrations.inbox integrations.tasks"
        " integrations.parting integrations.closing integrations.forms integrations.panels integrations.wording"
        " integrations.templatetags"
    ),
    "integrations.management": (
        f"{ROWS} django_tasks_db tqdm integrations.tasks integrations.keys integrations.encryption"
        " integrations.resealing integrations.retention integrations.recovery integrations.lanes integrations.health"
        " integrations.webhook_addresses integrations.exporting integrations.seeding"
        " integrations.tokens.condemn_left_behind"
    ),
    "integrations.checks": "django integrations.encryption integrations.keys integrations.limits integrations.meters",
    "integrations.apps": "django integrations.checks integrations.handlers",
    # The project. Settings are judged by who knows what is good; nobody imports them.
    "connectapp.health": "django integrations.keys integrations.tasks integrations.models.Turn",
    "connectapp.metrics": "django connectapp.health integrations.gauges integrations.meters",
    "connectapp.staff_site": "django allauth",
    "connectapp": (
        "django environ gunicorn structlog integrations.encryption.parse_keys integrations.snapinspect.addresses"
    ),
    "manage": "django",
    "gunicorn.conf": "django connectapp.settings",
}
# Parts of the standard library and of Django that speak HTTP or encipher: not for rooms that hold rows.
NOT_FOR_MODELS = "http urllib socket ssl hashlib hmac secrets django.http django.core.signing django.utils.crypto"
# What Django loads by itself when it is ready.
LATE_IMPORTS = {"integrations.apps"}
MOST_LINES = 350

FILES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path
    for path in [
        *ROOT.glob("*.py"),
        *(path for room in ("connectapp", "accounts", "integrations") for path in (ROOT / room).rglob("*.py")),
    ]
}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}
EMPTY = {name for name, path in MODULES.items() if not path.read_text(encoding="utf-8").strip()}


def imported_by(module: str) -> Iterator[tuple[str, int]]:
    """The full name of everything the module imports, whatever the spelling, with its line."""
    path = MODULES[module]
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{start}.{name.name}", node.lineno) for name in node.names)


def is_within(name: str, rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms.split())


def room_of(module: str) -> str:
    return max((room for room in ARROWS if is_within(module, room)), key=len, default="")


@pytest.mark.parametrize("module", sorted(set(MODULES) - EMPTY))
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = room_of(module)
    assert room, f"{module} stands in no room: add it to ARROWS, with what it may import"
    allowed = f"{room} {ARROWS[room]}"
    strange = [
        f"{name} (line {line})"
        for name, line in imported_by(module)
        if name.partition(".")[0] not in sys.stdlib_module_names and not is_within(name, allowed)
    ]
    assert not strange, f"{module} may not import {', '.join(strange)}"


def test_every_room_of_the_map_exists() -> None:
    assert [room for room in ARROWS if not any(is_within(module, room) for module in MODULES)] == []


def test_the_imports_go_in_no_circle() -> None:
    def module_of(name: str) -> str:
        return name if name in MODULES else name.rpartition(".")[0]

    arrows = {module: {module_of(name) for name, _ in imported_by(module)} - {module} for module in MODULES}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as circle:
        pytest.fail(f"The imports go in a circle: {' <- '.join(circle.args[1])}")


@pytest.mark.parametrize("room", ["accounts.models", "integrations.models"])
def test_rows_know_no_http_and_no_cryptography(room: str) -> None:
    modules = [module for module in MODULES if is_within(module, room)]
    assert modules
    for module in modules:
        # The public codes in addresses come from `secrets`; they are no secret.
        forbidden = NOT_FOR_MODELS.replace("secrets", "") if room == "accounts.models" else NOT_FOR_MODELS
        assert [name for name, _ in imported_by(module) if is_within(name, forbidden)] == []


def test_only_those_who_keep_secrets_seal_and_unseal() -> None:
    callers = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr in {"seal", "unseal"})
            or (isinstance(node.func, ast.Name) and node.func.id in {"seal", "unseal"})
        )
    }
    assert callers == {"integrations.sealing", "integrations.webhook_addresses"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty_words = {"utils", "util", "helpers", "helper", "services", "service", "managers", "manager", "misc", "common"}
    assert [module for module in MODULES if empty_words & set(module.split("."))] == []


@pytest.mark.parametrize("module", sorted(set(MODULES) - EMPTY - LATE_IMPORTS))
def test_imports_stand_at_the_top_where_everybody_sees_the_arrow(module: str) -> None:
    late = [
        f"line {node.lineno}"
        for function in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert late == []


def test_no_file_is_too_long_to_be_read_at_a_sitting() -> None:
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES.values()
        if "migrations" not in path.parts
    }
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}

"""Which package may import which. Any import that is not in the tables below fails, and so does a circle."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]

# Package (of `integrations`, unless it is a top level one) -> the packages that it may import.
ARROWS = {
    # People, customers, roles, audit trail. Knows nothing of SnapInspect.
    "accounts": "",
    # SnapInspect's protocol. The stand-in server is a program of its own.
    "snapinspect": "",
    "sandbox": "",
    # Rows, and what counts and names things.
    "models": "accounts",
    "migrations": "accounts",
    "wording": "snapinspect",
    "metrics": "snapinspect",
    # Subjects, from the bottom up.
    "tokens": "accounts models snapinspect metrics",
    "calls": "accounts models snapinspect tokens",
    "events": "accounts models snapinspect metrics tokens calls",
    "outgoing": "accounts models snapinspect metrics tokens events",
    "connecting": "accounts models snapinspect tokens events",
    "notifications": "accounts models",
    "operations": "accounts models metrics tokens events",
    "background": "accounts models snapinspect tokens calls events outgoing connecting notifications",
    # What Django, people and SnapInspect's server call.
    "apps": "checks events",
    "checks": "tokens calls metrics",
    "context_processors": "accounts models",
    "templatetags": "accounts models snapinspect wording outgoing",
    "webhooks": "accounts models metrics events",
    "api": "accounts models snapinspect wording tokens calls events connecting outgoing",
    "views": "accounts models snapinspect wording tokens calls events connecting operations api outgoing",
    "admin": "accounts models snapinspect wording templatetags calls events connecting outgoing",
    "management": "accounts models tokens calls events outgoing operations background api",
    "urls": "views webhooks",
    # The project. Nobody imports it.
    "connectapp": "accounts snapinspect models metrics tokens calls operations background",
}
# What a package may import beside the standard library and the packages above; Django alone where it is not named.
LIBRARIES = {
    "snapinspect": "requests urllib3 requests_oauthlib oauthlib",
    "sandbox": "",
    "wording": "",
    "accounts": "django allauth cryptography fido2",
    "tokens": "django cryptography",
    "metrics": "django prometheus_client",
    "outgoing": "django requests standardwebhooks",
    "operations": "django allauth.usersessions.models",
    "background": "django structlog",
    "management": "django tqdm",
    "views": "django allauth.account.decorators",
    "api": "django ninja pydantic structlog",
    "connectapp": "django django_stubs_ext allauth csp environ gunicorn psycopg structlog whitenoise",
}
# Modules that only one package imports: it alone opens stored tokens, and sends the request of an exchange.
PRIVATE = {
    "integrations.tokens.storage": "tokens",
    "integrations.snapinspect.exchange_call": "tokens",
}
# Parts of the standard library and of Django that speak HTTP or encipher: not for packages that hold rows.
NOT_FOR_MODELS = "http urllib socket ssl hashlib hmac secrets django.http django.core.signing django.utils.crypto"
# What Django loads by itself when it is ready.
LATE_IMPORTS = {"integrations.apps"}
MOST_LINES = 350
# Those whose modules cannot be told apart by the pages or rows that they are for.
SUBJECTS = "snapinspect tokens calls events outgoing connecting notifications operations background"

FILES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path
    for package in ("connectapp", "accounts", "integrations")
    for path in (ROOT / package).rglob("*.py")
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


def is_within(name: str, packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages.split())


def package_of(name: str) -> str:
    """The row of ARROWS that a module, or something imported from one, belongs to."""
    top, _, rest = name.partition(".")
    return rest.partition(".")[0] if top == "integrations" else top


def wrong(module: str, imports: Iterable[tuple[str, int]]) -> list[str]:
    """Those of the imports that this module may not make."""
    mine = package_of(module)
    packages = {mine, *ARROWS.get(mine, "").split()}
    libraries = LIBRARIES.get(mine, "django")
    return [
        f"{name} (line {line})"
        for name, line in imports
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not is_within(name, libraries)
        and (
            name.partition(".")[0] not in {"accounts", "integrations", "connectapp"}
            or package_of(name) not in packages
            or any(is_within(name, private) and owner != mine for private, owner in PRIVATE.items())
        )
    ]


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The modules of a circle of imports; empty when there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


@pytest.mark.parametrize("module", sorted(set(MODULES) - EMPTY - {"integrations"}))
def test_a_module_imports_only_what_its_package_may(module: str) -> None:
    assert package_of(module) in ARROWS, f"{module} stands in no package of ARROWS"
    strange = wrong(module, imported_by(module))
    assert not strange, f"{module} may not import {', '.join(strange)}"


def test_a_wrong_arrow_is_found() -> None:
    assert wrong("integrations.tokens.lease", [("integrations.calls.limits", 1)])
    assert wrong("accounts.access", [("integrations.models.Connection", 1)])
    assert wrong("integrations.models.events", [("requests.Session", 1)])
    assert wrong("integrations.views.connect", [("integrations.tokens.storage.client", 1)])
    assert not wrong("integrations.calls.panels", [("integrations.tokens.custody", 1), ("django.db.models.F", 2)])


def test_every_package_of_the_map_exists() -> None:
    assert set(ARROWS) == {package_of(module) for module in MODULES} - {""}


def test_the_imports_go_in_no_circle() -> None:
    def module_of(name: str) -> str:
        return name if name in MODULES else name.rpartition(".")[0]

    found = circle({module: {module_of(name) for name, _ in imported_by(module)} - {module} for module in MODULES})
    assert not found, f"The imports go in a circle: {' <- '.join(found)}"
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}), "a circle is found"


def test_the_packages_go_in_no_circle() -> None:
    assert circle({package: set(below.split()) for package, below in ARROWS.items()}) == []


@pytest.mark.parametrize("package", ["accounts.models", "integrations.models"])
def test_rows_know_no_http_and_no_cryptography(package: str) -> None:
    modules = [module for module in MODULES if is_within(module, package)]
    assert modules
    for module in modules:
        # The public codes in addresses come from `secrets`; they are no secret.
        forbidden = NOT_FOR_MODELS.replace("secrets", "") if package == "accounts.models" else NOT_FOR_MODELS
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
    assert callers == {
        "integrations.tokens.storage",
        "integrations.events.webhook_addresses",
        "integrations.outgoing.endpoints",
    }


@pytest.mark.parametrize("package", sorted(SUBJECTS.split()))
def test_a_package_says_what_each_of_its_modules_is_for(package: str) -> None:
    told = ast.get_docstring(ast.parse(MODULES[f"integrations.{package}"].read_text(encoding="utf-8"))) or ""
    modules = {name.rpartition(".")[2] for name in FILES if name.startswith(f"integrations.{package}.")} - {"__init__"}
    assert modules
    assert modules - set(re.findall(r"\w+", told)) == set()


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

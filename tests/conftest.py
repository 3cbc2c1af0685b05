"""What tests share: users, the stand-in SnapInspect, and running apps.

The users: Alice owns Acme, Bob is a member of it, Victor may only look. Charlie owns another customer, and must never
see anything of Acme's.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from django.dispatch import receiver
from django.test import Client, TransactionTestCase
from django.test.signals import setting_changed
from hypothesis import HealthCheck
from hypothesis import settings as examples
from pytest_django import Settings

from accounts.models import Customer, Membership, Role, User
from connectapp import postgresql
from integrations import sandbox as standin
from integrations.background import due_rows
from integrations.calls import health_check
from integrations.tokens import exchange_limit, proof
from tests.__main__ import INTERFACE
from tests.support import postgres, secret_scan
from tests.support.clients import Sandbox, Visitor
from tests.support.deployment import Deployment, deployed
from tests.support.running_app import DatabaseTemplate, RunningApp
from tests.support.sizes import size
from tests.support.webhook_load import SETTINGS, ConnectedApp

# The machine may be busy, and what is tried is the same each time; under `make soak` it is not.
examples.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=not size(0, 1), database=None
)
examples.load_profile("suite")
# Django opens a new connection after every test that commits, in case a rollback undid its settings: ours are made
# outside of transactions. PostgreSQL plans everything anew on a new one, which took a fifth of the time of all tests.
TransactionTestCase._should_reload_connections = lambda self: False  # type: ignore[attr-defined]
# pytest-django refuses the database to tests without one of these fixtures.
DATABASE = {"db", "transactional_db", "live_server"}


class AppFactory(Protocol):
    def __call__(self, **settings: str) -> RunningApp: ...


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Marks with `once` what can touch no data, as it neither may use the database nor starts processes that do.

    Marks with `interface` what tests what people and programs meet: pages, mails, the API and calls. By hand it stands
    at tests of what many answers or bodies mean.
    What starts processes or Chromium runs last: those that tests share go on running until the end.
    """
    for item in items:
        asks = DATABASE & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("django_db")
        if not asks and not item.get_closest_marker("processes"):
            item.add_marker("once")
        if item.path.parent.name in INTERFACE:
            item.add_marker("interface")
    yield
    items.sort(key=lambda item: [item.get_closest_marker(kind) is not None for kind in ("processes", "browser")])


@pytest.fixture(autouse=True)
def nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one process nothing happens during a pause. Processes keep the product's own pauses."""
    monkeypatch.setattr(proof, "PAUSE_BEFORE_BELIEVING_401", 0)
    monkeypatch.setattr(exchange_limit, "MOST_WAIT", 0)
    # Nor is the stand-in slow when the machine is, nor the database. (A test that leaves a streamed answer unread never
    # ends its request: the next thing that took long was the end of the test database.)
    monkeypatch.setattr(health_check, "HURRY", 5.0)
    monkeypatch.setattr(postgresql, "OF_REQUESTS", None)


@receiver(setting_changed)
def _due_queries_follow_settings(setting: str, **_: object) -> None:
    """They are written once in a process, and no process lives through a change of its settings but this one."""
    if setting.endswith("_PATH"):
        due_rows.queries_of.cache_clear()


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    from tests.settings import SENTINEL, SNAPINSPECT_CLIENT_SECRET, SNAPINSPECT_REDIRECT_URI  # noqa: PLC0415

    with standin.serve(
        client_id="test-client",
        client_secret=SNAPINSPECT_CLIENT_SECRET,
        redirect_uri=SNAPINSPECT_REDIRECT_URI,
        app_name="Connect",
        token_prefix=SENTINEL,
    ) as running:
        yield Sandbox(running.url)


@pytest.fixture
def sandbox(sandbox_server: Sandbox, settings: Settings) -> Iterator[Sandbox]:
    """A stand-in SnapInspect in its first state, with the app pointed at it."""
    sandbox_server.reset()
    settings.SNAPINSPECT_CONNECT_URL = sandbox_server.url + "integration/SnapInspectConnect"
    settings.SNAPINSPECT_EXCHANGE_URL = sandbox_server.url + "integration/ExchangeToken"
    settings.SNAPINSPECT_API_URL = sandbox_server.url
    yield sandbox_server
    sandbox_server.clear_faults()


def _person(name: str) -> User:
    return User.objects.create_user(f"{name}@example.com", "correct horse battery")


@pytest.fixture
def alice(db: None) -> User:
    return _person("alice")


@pytest.fixture
def acme(alice: User) -> Customer:
    return Customer.objects.create_with_owner("Acme Property", owner=alice)


@pytest.fixture
def bob(acme: Customer) -> User:
    bob = _person("bob")
    Membership.objects.create(user=bob, customer=acme, role=Role.MEMBER)
    return bob


@pytest.fixture
def victor(acme: Customer) -> User:
    victor = _person("victor")
    Membership.objects.create(user=victor, customer=acme, role=Role.VIEWER)
    return victor


@pytest.fixture
def charlie(db: None) -> User:
    charlie = _person("charlie")
    Customer.objects.create_with_owner("Charlie's Lettings", owner=charlie)
    return charlie


@pytest.fixture
def visit() -> Callable[[User], Visitor]:
    """A signed-in browser of this user."""

    def signed_in(user: User) -> Visitor:
        visitor = Visitor()
        visitor.force_login(user)
        return visitor

    return signed_in


@pytest.fixture
def stranger() -> Client:
    return Visitor()


@pytest.fixture(scope="session")
def app_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppFactory]:
    """Makes apps of real processes on a new database of this run's kind. The caller enters them.

    Row T1: when all tests are done, whatever they wrote is searched for secrets.
    """
    folders: list[Path] = []
    template = DatabaseTemplate(tmp_path_factory.mktemp("template"))

    def make(**settings: str) -> RunningApp:
        folders.append(tmp_path_factory.mktemp("app"))
        return RunningApp(folders[-1], template.copy(folders[-1]), **settings)

    yield make
    leaks = secret_scan.leaks(folders)
    assert not leaks, f"Secrets were written to: {leaks}"


@pytest.fixture
def new_app(app_factory: AppFactory) -> Iterator[AppFactory]:
    """Makes apps that end with the test: a worker that nobody needs would go on looking for work."""
    with ExitStack() as opened:
        yield lambda **settings: opened.enter_context(app_factory(**settings))


@pytest.fixture(scope="session")
def connected_app(app_factory: AppFactory) -> Iterator[ConnectedApp]:
    """Shared by the tests that kill what runs on it: each finds it running, and connected."""
    with app_factory(**SETTINGS) as running_app:
        yield ConnectedApp(running_app)


@pytest.fixture(scope="session")
def shared_app(app_factory: AppFactory) -> Iterator[RunningApp]:
    # The address of the sample product, as docs/api.md has it.
    with app_factory(CONNECT_RETURN_ORIGINS="http://127.0.0.1:8002") as running_app:
        yield running_app.start_all()


@pytest.fixture
def running_app(shared_app: RunningApp) -> Iterator[RunningApp]:
    """Web, worker and stand-in, running; shared by the tests that leave them running."""
    # A connect has other connections of the same company checked, and the stand-in has forgotten their tokens. Limits
    # on signing in are counted for the one address that all tests come from.
    shared_app.forget()
    shared_app.sandbox.reset()
    yield shared_app
    shared_app.sandbox.clear_faults()


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """What the guide makes, on a PostgreSQL of its own; which its tests may stop and start again."""
    folder = tmp_path_factory.mktemp("deployment")
    with postgres.running() as database, deployed(folder, database, fresh_packages=size(0, 1) == 1) as running:
        yield running
    assert secret_scan.leaks([folder]) == running.settings_files, "the settings hold secrets, nothing else may"

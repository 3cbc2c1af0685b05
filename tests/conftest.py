"""What tests share: the cast, the stand-in SnapInspect, and clients that come through the door that gunicorn serves.

The cast: Alice owns Acme, Bob is a member of it, Victor may only look. Charlie owns another customer, and must never
see anything of Acme's.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import Customer, Membership, Role, User
from integrations import proving, tasks
from integrations import sandbox as standin
from tests import sweep
from tests.driving import Sandbox, Visitor
from tests.stage import SETTINGS, Stage
from tests.world import Blank, World

FORGET = "from accounts.models import Customer; Customer.objects.all().delete()"


class OpenWorld(Protocol):
    def __call__(self, **settings: str) -> World: ...


@pytest.fixture(autouse=True)
def nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one process nothing happens during a pause. Worlds, which are processes, keep the product's own."""
    monkeypatch.setattr(tasks, "LINGER", 0)
    monkeypatch.setattr(proving, "PAUSE_BEFORE_BELIEVING_401", 0)


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
    return Customer.objects.open("Acme Property", owner=alice)


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
    Customer.objects.open("Charlie's Lettings", owner=charlie)
    return charlie


@pytest.fixture
def visit() -> Callable[[User], Visitor]:
    """A signed-in browser for somebody of the cast."""

    def signed_in(user: User) -> Visitor:
        visitor = Visitor()
        visitor.force_login(user)
        return visitor

    return signed_in


@pytest.fixture
def stranger() -> Client:
    return Visitor()


@pytest.fixture(scope="session")
def open_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenWorld]:
    """Opens worlds of real processes on a fresh database of the kind this run is about.

    Row T1: when all tests are done they are closed, and whatever they wrote is searched for secrets.
    """
    folders = []
    blank = Blank(tmp_path_factory.mktemp("blank"))
    with ExitStack() as opened:

        def opener(**settings: str) -> World:
            folders.append(tmp_path_factory.mktemp("world"))
            return opened.enter_context(World(folders[-1], blank.copied(folders[-1]), **settings))

        yield opener
    leaks = sweep.leaks(folders)
    assert not leaks, f"Secrets were written to: {leaks}"


@pytest.fixture(scope="session")
def stage(open_world: OpenWorld) -> Stage:
    """Shared by the tests that kill what runs on it: each finds it running, and connected."""
    return Stage(open_world(**SETTINGS))


@pytest.fixture(scope="session")
def shared_world(open_world: OpenWorld) -> World:
    return open_world().start_all()


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """Web, worker and stand-in, running; shared by the tests that leave them running."""
    # A connect has other connections of the same company checked, and the stand-in has forgotten their tokens.
    shared_world.manage("shell", "--verbosity", "0", "-c", FORGET)
    shared_world.sandbox.reset()
    yield shared_world
    shared_world.sandbox.clear_faults()

"""The operator's handlers: for which events they run, how often, and what their failures do."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from accounts.models import AuditEntry, Customer, User
from integrations.apps import IntegrationsConfig
from integrations.events import event_actions
from integrations.events.handlers import Happening, on
from integrations.models import Connection, Event, HandlerRun
from tests.support.clients import work
from tests.support.deliveries import INSPECTION, deliver, later, only_event, payload

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_is_looked_up(settings: Settings) -> None:
    settings.SNAPINSPECT_INSPECTION_PATH = ""


@pytest.fixture(autouse=True)
def connection(acme: Customer) -> Connection:
    return Connection.objects.create(customer=acme, company_id="6847", state="connected")


def test_a_handler_runs_for_its_types_and_the_star_for_all() -> None:
    reviews, everything = list[str](), list[str]()
    on("Create_Review", "Review_Signed")(lambda happening: reviews.append(happening.type))

    @on("*")
    def all_of_them(happening: Happening) -> None:
        everything.append(happening.type)

    deliver(payload(), payload("Create_Review"), payload("Review_Signed"), payload(None))

    assert reviews == ["Create_Review", "Review_Signed"]
    assert everything == ["Create_Inspection", "Create_Review", "Review_Signed", ""]


def test_a_failing_handler_is_tried_again_and_the_others_are_not() -> None:
    keys: dict[str, list[str]] = {"good": [], "bad": []}

    @on("*")
    def good(happening: Happening) -> None:
        keys["good"].append(happening.key)

    @on("*")
    def bad(happening: Happening) -> None:
        keys["bad"].append(happening.key)
        if len(keys["bad"]) < 3:
            raise RuntimeError("its own server is down")

    deliver(payload())
    event = only_event()
    assert (event.state, event.last_error_kind, event.attempts) == ("retrying", "handler_failed", 1)
    work()
    assert len(keys["bad"]) == 1, "the next try did not wait"
    later(hours=1)
    later(hours=1)

    event.refresh_from_db()
    assert (event.state, event.attempts) == ("done", 3)
    assert len(keys["good"]) == 1
    assert len(keys["bad"]) == 3 and len(set(keys["bad"])) == 1, "the key is the same for every try"
    assert set(keys["bad"]).isdisjoint(keys["good"])


def test_an_effect_in_the_transaction_of_its_note_happens_once_or_not_at_all(acme: Customer) -> None:
    runs = []

    @on("*", in_transaction=True)
    def books(happening: Happening) -> None:
        AuditEntry.objects.create(kind="booked", customer=acme)
        runs.append(happening)
        if len(runs) < 3:
            raise RuntimeError

    deliver(payload())
    assert not AuditEntry.objects.filter(kind="booked").exists()
    later(hours=1)
    later(hours=1)

    assert AuditEntry.objects.filter(kind="booked").count() == HandlerRun.objects.count() == 1
    assert len(runs) == 3


def test_replaying_a_finished_event_runs_everything_anew_under_another_key(alice: User) -> None:
    keys: list[str] = []
    on("*")(lambda happening: keys.append(happening.key))
    deliver(payload())

    assert event_actions.replay(only_event(), by=alice)
    assert not event_actions.replay(only_event(), by=alice), "it is not finished"
    work()

    assert len(keys) == len(set(keys)) == 2
    assert AuditEntry.objects.filter(kind="event.replayed", actor=alice).count() == 1


def test_replaying_a_failed_event_spares_the_handlers_that_succeeded(alice: User) -> None:
    handled: list[str] = []
    broken = True

    @on("*")
    def good(happening: Happening) -> None:
        handled.append("good")

    @on("*")
    def bad(happening: Happening) -> None:
        if broken:
            raise RuntimeError
        handled.append("bad")

    deliver(payload())
    for _ in range(8):
        later(hours=3)
    assert only_event().state == Event.State.FAILED
    broken = False
    event_actions.replay(only_event(), by=alice)
    work()

    assert only_event().state == Event.State.DONE
    assert handled == ["good", "bad"]


def test_a_decorator_without_a_type_is_a_mistake_that_is_told() -> None:
    with pytest.raises(TypeError):
        on()(print)
    with pytest.raises(TypeError):
        on(print)  # type: ignore[arg-type]


@pytest.fixture
def operators_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "our_handlers.py").write_text(
        "from integrations.events.handlers import Happening, on\n"
        "handled = []\n"
        '@on("Create_Inspection")\n'
        "def tell_the_crm(happening: Happening) -> None:\n"
        "    handled.append((happening.inspection_id, happening.key))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "our_handlers"
    sys.modules.pop("our_handlers", None)


def test_the_setting_names_the_modules_that_are_loaded_at_the_start(operators_module: str, settings: Settings) -> None:
    settings.EVENT_HANDLERS = [operators_module]
    config = IntegrationsConfig("integrations", importlib.import_module("integrations"))
    config.ready()

    deliver(payload(), payload("Review_Signed"))

    handled = importlib.import_module(operators_module).handled
    assert [inspection for inspection, _ in handled] == [INSPECTION]

    settings.EVENT_HANDLERS = ["no_such_module"]
    with pytest.raises(ImproperlyConfigured, match="EVENT_HANDLERS"):
        config.ready()

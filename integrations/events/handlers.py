"""Registers and runs the operator's own event handlers.

    # in a module that the setting EVENT_HANDLERS names
    from integrations.events.handlers import Happening, on

    @on("Create_Inspection", "Review_Signed")
    def tell_the_crm(happening: Happening) -> None: ...

    @on("*")
    def keep_a_copy(happening: Happening) -> None: ...

Handlers run in the worker, for events that SnapInspect has confirmed (or for all, where no inspection can be looked
up). One that raises is tried again with backoff, up to `Event.MOST_ATTEMPTS` attempts; those that succeeded are not
run again. A worker can be killed between a handler's last line and its commit, so a handler may run twice:
`happening.key` is the same both times. With `in_transaction=True` the commit includes the handler's own rows: then its
effect on this database happens once. Such a handler must not call other servers, as nobody else can write to SQLite
meanwhile.

A handler that takes longer than the worker's lease (`models.leases.LEASE`, less the RENEW_AFTER of `leased_queue`) may
be run again meanwhile.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module

from django.db import transaction

from integrations.models import Connection, Event, HandlerRun
from integrations.snapinspect.json_answers import Json

logger = logging.getLogger(__name__)

EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Happening:
    """The argument of a handler. IDs are decimal digits, empty when unknown.

    key: the same for every run of this handler about this event; another one when a person replays a finished event.
    content: what SnapInspect's API answered about the inspection, None where it was not looked up.
    verified: whether SnapInspect's API confirmed it with this customer's own token.
    recovered: found after an outage by asking for changes, not announced by a webhook.
    """

    key: str
    type: str
    inspection_id: str
    review_id: str
    company_id: str
    connection: Connection
    received_at: datetime
    verified: bool
    recovered: bool
    content: Json = field(default=None, repr=False)


Function = Callable[[Happening], None]


@dataclass(frozen=True, slots=True)
class Handler:
    function: Function
    types: tuple[str, ...]
    in_transaction: bool

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def accepts(self, type_: str) -> bool:
        return EVERYTHING in self.types or type_ in self.types


registry: dict[str, Handler] = {}


def on(*types: str, in_transaction: bool = False) -> Callable[[Function], Function]:
    """Registers the function below it for these event types; "*" stands for every type, unknown ones too."""
    if not types or not all(isinstance(type_, str) for type_ in types):
        raise TypeError('Say which events: @on("Create_Inspection") or @on("*").')

    def register(function: Function) -> Function:
        handler = Handler(function, types, in_transaction)
        registry[handler.name] = handler
        return function

    return register


def load(modules: Iterable[str]) -> None:
    """Imports the operator's modules, which registers their handlers. Raises ImportError."""
    for module in modules:
        import_module(module)


def pending(type_: str, done: Iterable[str]) -> list[Handler]:
    """The handlers of this type, without those that are done."""
    finished = set(done)
    return [handler for handler in registry.values() if handler.accepts(type_) and handler.name not in finished]


def run(handler: Handler, event: Event, happening: Happening) -> bool:
    """Runs a handler; whether it succeeded. What it raises is logged."""
    try:
        if not handler.in_transaction:
            handler.function(happening)
            return True
        with transaction.atomic():
            HandlerRun.objects.create(event=event, handler=handler.name)
            handler.function(happening)
    except Exception:
        logger.exception("Handler %s failed for event %s.", handler.name, event.code)
        return False
    return True

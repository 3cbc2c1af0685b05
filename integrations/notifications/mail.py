"""Sends a mail that its reader can unsubscribe from."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from django.core.mail.backends.base import BaseEmailBackend
from django.urls import reverse

from accounts import brand, branded_mail, mail_preferences
from accounts.models import Customer
from integrations.models import Connection

# While one worker sends a mail, the others leave it alone; if the mail server fails, it is tried again after this.
SENDING = timedelta(minutes=5)
_kept: ContextVar[BaseEmailBackend | None] = ContextVar("kept", default=None)


@contextmanager
def one_connection() -> Iterator[None]:
    """Mails that are sent within the block share one connection to the mail server, which the first one opens."""
    server = branded_mail.mail_server()
    token = _kept.set(server)
    try:
        yield
    finally:
        _kept.reset(token)
        server.close()


def send(template: str, context: dict[str, Any], *, to: str, unsubscribe_path: str) -> None:
    """Sends the template's mail with a way to unsubscribe; see accounts.branded_mail."""
    unsubscribe = brand.origin() + unsubscribe_path
    headers = mail_preferences.unsubscribe_headers(unsubscribe)
    server = _kept.get()
    try:
        if server is not None:
            server.open()
        branded_mail.send(template, {"stop": unsubscribe, **context}, to=to, headers=headers, server=server)
    except OSError:
        if server is not None:
            server.close()  # it may be dead: the next mail opens another one
        raise


def connection_url(connection: Connection) -> str:
    return brand.origin() + reverse("connection", args=[connection.customer.code, connection.code])


def dashboard_url(customer: Customer) -> str:
    return brand.origin() + reverse("dashboard", args=[customer.code])

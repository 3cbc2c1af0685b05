"""Limits the exchanges that do not help while SnapInspect refuses many connections.

A 401 that everybody meets is an outage, and an exchange ends no outage. Each exchange after a refusal counts until
SnapInspect accepts the connection again. A connection may exchange while fewer than LEAST others have begun one within
WINDOW that has not helped, or while all that have not helped are less than SHARE of the connections that were asked
within WINDOW. The others keep their tokens and are asked again by `/user`. Expired tokens pass quickly: each exchange
that helps makes room for the next.
"""

import logging
import random
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts import audit
from integrations.models import USABLE, Connection, ExchangeStatus, NamedLock, State

logger = logging.getLogger(__name__)

WINDOW = timedelta(minutes=5)
LEAST = 2
SHARE = 0.1
LOCK = "exchanges"

# An exchange takes a second or two. So long a caller waits for one that is under way, if there is one.
UNDER_WAY = timedelta(seconds=10)
MOST_WAIT = 5.0  # seconds
POLL_INTERVAL = (0.1, 0.3)  # seconds, from and to


# The columns of a connection whose token SnapInspect accepts.
ACCEPTED: dict[str, Any] = {"refused_at": None, "exchange_pending_since": None}


def note_refused(connection: Connection) -> None:
    """Records that SnapInspect has refused this connection's token, proven."""
    Connection.objects.filter(pk=connection.pk).update(refused_at=Now())


def allows(connection: Connection) -> bool:
    """Returns whether this connection, which was refused, may exchange now. May take MOST_WAIT seconds."""
    give_up_at = time.monotonic() + MOST_WAIT
    while not _take_place(connection):
        if time.monotonic() >= give_up_at or not _others_pending(connection, UNDER_WAY):
            tell_operator()
            return False
        time.sleep(random.uniform(*POLL_INTERVAL))  # noqa: S311
    return True


def release(connection: Connection) -> None:
    """Records that nothing was exchanged, or that the exchange says nothing about an outage."""
    Connection.objects.filter(pk=connection.pk).update(exchange_pending_since=None)


def note_accepted(connection: Connection) -> None:
    """Records that SnapInspect accepts this connection's token."""
    mine = Connection.objects.filter(pk=connection.pk)
    marked = mine.exclude(refused_at=None, exchange_pending_since=None)
    marked.update(**ACCEPTED, proved_at=Now())
    end_if_over()


def end_if_over() -> None:
    """Ends the limit when no connection that is *Having trouble* is refused any more."""
    if not is_limiting() or Connection.objects.filter(state=State.TROUBLE, refused_at__isnull=False).exists():
        return
    if limited().update(limited_since=None) == 1:
        audit.record("exchanges.not_limited")


def is_limiting() -> bool:
    """Returns whether exchanges are held back, or were, and somebody is still refused."""
    return limited().exists()


def limited() -> "QuerySet[ExchangeStatus]":
    """A row while exchanges are held back, see `is_limiting`."""
    return _status().exclude(limited_since=None)


def _take_place(connection: Connection) -> bool:
    with transaction.atomic():
        # Of two workers that count at the same moment, one would not see the other's exchange.
        NamedLock.objects.lock(LOCK)
        if _others_pending(connection, WINDOW) >= LEAST and _others_pending(connection) >= SHARE * _asked():
            return False
        Connection.objects.filter(pk=connection.pk).update(exchange_pending_since=Now())
    return True


def _others_pending(connection: Connection, within: timedelta | None = None) -> int:
    """How many other connections have exchanged, and were not accepted since; all, or those of this last time."""
    pending = Connection.objects.usable().exclude(pk=connection.pk).filter(exchange_pending_since__isnull=False)
    return (pending.filter(exchange_pending_since__gt=Now() - within) if within else pending).count()


def _asked() -> int:
    """How many connections SnapInspect has accepted or refused within WINDOW."""
    since = Now() - WINDOW
    return Connection.objects.filter(Q(proved_at__gt=since) | Q(refused_at__gt=since), state__in=USABLE).count()


def _status() -> "QuerySet[ExchangeStatus]":
    return ExchangeStatus.objects.filter(pk=1)


def tell_operator() -> None:
    """Mails the operator, unless that was done since the limit was last not needed."""
    if is_limiting():
        return
    ExchangeStatus.objects.get_or_create(pk=1)
    if _status().filter(limited_since=None).update(limited_since=Now()) != 1:
        return
    audit.record("exchanges.limited")
    logger.error("SnapInspect refuses many connections at once: exchanges are held back until it accepts them again.")
    try:
        send_mail(
            f"{settings.APP_NAME}: SnapInspect refuses many connections at once",
            "SnapInspect refuses the tokens of many connections, and new tokens do not help. That looks like an outage"
            " on its side, so only few tokens are exchanged until it accepts them again. The other connections keep"
            " their tokens and are asked again within minutes. Customers see 'Having trouble'. Nothing is lost.\n",
            None,
            [settings.OPERATOR_EMAIL],
        )
    except OSError:
        logger.exception("The operator could not be mailed.")

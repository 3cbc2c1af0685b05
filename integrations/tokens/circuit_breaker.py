"""Stops exchanging while SnapInspect refuses many connections at once.

An outage that answers 401 to everybody would otherwise make us exchange every customer's tokens, for nothing. While it
is open, calls that meet a 401 fail as in any other outage, the operator is told once, and one connection a minute is
tried; the first refused one that works again closes it.
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import F
from django.db.models.functions import Now

from accounts import audit
from integrations.models import CircuitBreaker, Connection, State

logger = logging.getLogger(__name__)

WINDOW = timedelta(minutes=5)
LEAST_REFUSED = 5
SHARE_REFUSED = 0.2
PROBE_EVERY = timedelta(minutes=1)
# How many of the probes may exchange: should the 401s be real, an exchange is the only thing that helps.
EXCHANGING_PROBES = 5
# Tokens that died for good in the middle of it would wait for ever for others to work again: so one more an hour.
ONE_MORE_EVERY = timedelta(hours=1)


def admits(connection: Connection) -> bool:
    """Whether a token that SnapInspect has just refused, proven, may be exchanged now."""
    Connection.objects.filter(pk=connection.pk).update(refused_at=Now())
    if not is_open() and not _too_many_refused():
        return True
    CircuitBreaker.objects.get_or_create(pk=1)
    closed = CircuitBreaker.objects.filter(opened_at=None)
    if (
        closed.update(opened_at=Now(), next_probe_at=Now() + PROBE_EVERY, probe=None, exchanges=0, exchanged_at=None)
        == 1
    ):
        _tell_operator()
        return False
    mine = CircuitBreaker.objects.exclude(opened_at=None).filter(probe=connection)
    if mine.filter(exchanges__lt=EXCHANGING_PROBES).update(exchanges=F("exchanges") + 1, exchanged_at=Now()) == 1:
        return True
    return bool(mine.filter(exchanged_at__lte=Now() - ONE_MORE_EVERY).update(exchanged_at=Now()) == 1)


def lets_ask(connection: Connection) -> bool:
    """Whether a routine check of this connection may be made: always while closed; while open, one a minute."""
    if not is_open():
        return True
    due = CircuitBreaker.objects.exclude(opened_at=None).filter(next_probe_at__lte=Now())
    return bool(due.update(next_probe_at=Now() + PROBE_EVERY, probe=connection) == 1)


def is_open() -> bool:
    return CircuitBreaker.objects.exclude(opened_at=None).exists()


def works_again(connection: Connection) -> None:
    """This connection works. If it was refused, SnapInspect is back, or exchanging helps: the breaker closes, and
    everybody is asked anew. If it never was, others may be refused with good reason: a few more probes may exchange.
    """
    refused = Connection.objects.exclude(refused_at=None)
    was_refused = refused.filter(pk=connection.pk).update(refused_at=None) == 1
    if not is_open():
        return
    unsettled = refused.filter(state=State.TROUBLE)
    if not was_refused and unsettled.exists():
        CircuitBreaker.objects.update(exchanges=0)
        return
    if CircuitBreaker.objects.exclude(opened_at=None).update(opened_at=None, probe=None) != 1:
        return
    audit.record("breaker.closed")
    # Those who were refused because everybody was must not open it again.
    refused.update(refused_at=None)
    waiting = Connection.objects.filter(state__in=[State.TROUBLE, State.NEEDS_RECONNECT])
    waiting.exclude(next_check_at=None).update(next_check_at=Now())


def _too_many_refused() -> bool:
    living = Connection.objects.filter(state__in=[State.CONNECTED, State.TROUBLE, State.NEEDS_RECONNECT])
    refused = living.filter(refused_at__gt=Now() - WINDOW).count()
    # The probes of an open breaker exchange, too: they are counted in beforehand.
    return refused >= LEAST_REFUSED and refused + EXCHANGING_PROBES > SHARE_REFUSED * living.count()


def _tell_operator() -> None:
    audit.record("breaker.opened")
    logger.error("SnapInspect refuses many connections at once: exchanging is stopped until one works again.")
    try:
        send_mail(
            f"{settings.APP_NAME}: SnapInspect refuses many connections at once",
            "Within five minutes SnapInspect refused the tokens of many connections. That looks like an outage on its"
            " side, so nothing is exchanged until one of them works again; that is tried once a minute. Customers see"
            " 'Having trouble'. Nothing is lost.\n",
            None,
            [settings.OPERATOR_EMAIL],
        )
    except OSError:
        logger.exception("The operator could not be mailed.")

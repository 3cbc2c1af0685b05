"""Stops exchanging while SnapInspect refuses many connections at once.

Without it, an outage that answers 401 to everybody would make us exchange every customer's tokens for nothing. While it
is open, calls that meet a 401 fail as in any other outage, the operator gets one mail, and one connection a minute is
checked. It closes when a connection that was refused works again.
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
MIN_REFUSED = 5
SHARE_REFUSED = 0.2
PROBE_EVERY = timedelta(minutes=1)
# How many probes may exchange: if the 401s are real, only an exchange helps.
EXCHANGING_PROBES = 5
# After those, one more an hour: tokens that died during the outage would otherwise keep it open for ever.
EXCHANGE_EVERY = timedelta(hours=1)


def allows_exchange(connection: Connection) -> bool:
    """Records that SnapInspect has refused this connection's token; returns whether it may be exchanged now."""
    Connection.objects.filter(pk=connection.pk).update(refused_at=Now())
    if not is_open() and not _too_many_refused():
        return True
    CircuitBreaker.objects.get_or_create(pk=1)
    closed = CircuitBreaker.objects.filter(opened_at=None)
    if (
        closed.update(opened_at=Now(), next_probe_at=Now() + PROBE_EVERY, probe=None, exchanges=0, exchanged_at=None)
        == 1
    ):
        _mail_operator()
        return False
    mine = CircuitBreaker.objects.exclude(opened_at=None).filter(probe=connection)
    if mine.filter(exchanges__lt=EXCHANGING_PROBES).update(exchanges=F("exchanges") + 1, exchanged_at=Now()) == 1:
        return True
    return bool(mine.filter(exchanged_at__lte=Now() - EXCHANGE_EVERY).update(exchanged_at=Now()) == 1)


def allows_check(connection: Connection) -> bool:
    """Returns whether this connection may have its routine check: always while closed; while open, one a minute."""
    if not is_open():
        return True
    due = CircuitBreaker.objects.exclude(opened_at=None).filter(next_probe_at__lte=Now())
    return bool(due.update(next_probe_at=Now() + PROBE_EVERY, probe=connection) == 1)


def is_open() -> bool:
    return CircuitBreaker.objects.exclude(opened_at=None).exists()


def record_success(connection: Connection) -> None:
    """Records that this connection works.

    If it was refused before, the circuit breaker closes, and every connection in trouble is checked soon. If not, the
    others may be refused with good reason: a few more probes may exchange.
    """
    refused = Connection.objects.exclude(refused_at=None)
    was_refused = refused.filter(pk=connection.pk).update(refused_at=None) == 1
    if not is_open():
        return
    still_refused = refused.filter(state=State.TROUBLE)
    if not was_refused and still_refused.exists():
        CircuitBreaker.objects.update(exchanges=0)
        return
    if CircuitBreaker.objects.exclude(opened_at=None).update(opened_at=None, probe=None) != 1:
        return
    audit.record("breaker.closed")
    # Refusals from the outage must not open it again.
    refused.update(refused_at=None)
    waiting = Connection.objects.filter(state__in=[State.TROUBLE, State.NEEDS_RECONNECT])
    waiting.exclude(next_check_at=None).update(next_check_at=Now())


def _too_many_refused() -> bool:
    living = Connection.objects.filter(state__in=[State.CONNECTED, State.TROUBLE, State.NEEDS_RECONNECT])
    refused = living.filter(refused_at__gt=Now() - WINDOW).count()
    # The exchanges of probes are counted in advance.
    return refused >= MIN_REFUSED and refused + EXCHANGING_PROBES > SHARE_REFUSED * living.count()


def _mail_operator() -> None:
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

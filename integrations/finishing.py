"""From a pair that has just come back to a connection that works.

Each step can be taken again: what has been done stands on the pair's row, so a worker that was killed is followed by
another one that goes on where the row says.

    prove      /user answers, and names the company
    exchange   the pair that travelled in the browser's address is replaced, and dead from then on
    prove      the new pair has answered, too
    settle     it becomes the pair in use: of this connection, of the one this customer already has for that company,
               or, if it is another company than before, of the one that a person decides on
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations import health, tokens
from integrations.encryption import CannotUnseal
from integrations.models import SETUP_ERRORS, Connection, State, TokenPair
from integrations.snapinspect.errors import Refused, SnapInspectError, TokenRefused

logger = logging.getLogger(__name__)

# After a lost answer the old refresh token is tried once more, never again: it may have been honoured, and it is all
# that is left when the old access token is dead.
SENDS_OF_ONE_EXCHANGE = 2


def finish(pk: int) -> None:
    """Takes a candidate as far as it comes now: to *Connected*, to a question, to a later try, or to its end."""
    try:
        held = tokens.hold(pk)
        if held is None:
            return
        with held:
            while _step(held):
                held.renew()
    except tokens.LostLease:
        # Another worker holds it, or a newer answer of SnapInspect, or a disconnect, has taken its place.
        logger.info("Left candidate %s to whoever has it now.", pk)


def answer_question(connection: Connection, *, add: bool, by: User) -> Connection | None:
    """Settles a candidate that turned out to be another company: added beside this connection, or dropped.

    Returns the connection that now works with it, or None when it was dropped or is not waiting any more.
    """
    waiting = TokenPair.objects.candidates().filter(connection=connection, asks=True)
    # Who presses second finds nothing waiting.
    if waiting.update(asks=False, next_try_at=Now()) != 1:
        return None
    candidate = TokenPair.objects.candidates().get(connection=connection)
    held = tokens.hold(candidate.pk)
    if held is None:
        return None
    with held:
        company = str(held.pair.profile.get("company_id", ""))
        audit.record(
            "connect.other_company_added" if add else "connect.other_company_dropped",
            customer=connection.customer,
            actor=by,
            subject=connection.code,
            company=company,
        )
        if not add:
            held.discard()
            return None
        with transaction.atomic():
            twin = _twin(held, company) or Connection.objects.create(customer=connection.customer, connected_by=by)
            held.move_to(twin)
        _connect(held)
        return twin


def _step(held: tokens.Held) -> bool:
    """Takes one step. Returns whether there is another one to take now."""
    row = held.pair
    try:
        if row.exchange_sent_at is not None:
            return _find_out(held)
        if row.proved_at is None:
            return _prove(held)
        if row.exchanged_at is None and settings.SNAPINSPECT_EXCHANGE_ON_CONNECT:
            return _exchange(held)
    except CannotUnseal:
        return _later(held, "cannot_unseal")
    return _settle(held)


def _prove(held: tokens.Held) -> bool:
    verdict = health.ask(held.client())
    if verdict.refused:
        return _give_up(held, verdict.error_kind)
    if verdict.profile is None:
        return _later(held, verdict.error_kind)
    profile = verdict.profile
    held.write(
        proved_at=Now(),
        profile={
            "company_id": profile.company_id or "",
            "company_name": profile.company_name or "",
            "account_name": profile.name or "",
            "account_email": profile.email or "",
        },
    )
    return True


def _exchange(held: tokens.Held) -> bool:
    try:
        same_state = held.exchange()
    except SnapInspectError as error:
        if held.pair.exchange_sent_at is None:  # it never left
            return _later(held, error.kind)
        held.write(error_kind="exchange_refused" if isinstance(error, Refused | TokenRefused) else error.kind)
        return True
    audit.record(
        "tokens.exchanged",
        customer=held.connection.customer,
        subject=held.connection.code,
        fingerprint=held.pair.fingerprint,
        state_returned=same_state,
    )
    return True


def _find_out(held: tokens.Held) -> bool:
    """An exchange was sent and nobody knows how it ended: the old access token tells.

    It still works: nothing happened. It is dead: the tokens were replaced and the answer was lost, so the old refresh
    token is tried once more, in case SnapInspect honours it.
    """
    verdict = health.ask(held.client())
    if verdict.profile is not None:
        kind = held.pair.error_kind or "exchange_unanswered"
        held.write(exchange_sent_at=None, exchange_sends=0)
        return _later(held, kind)
    if not verdict.refused:
        return _later(held, verdict.error_kind)
    if held.pair.exchange_sends < SENDS_OF_ONE_EXCHANGE:
        return _exchange(held)
    return _give_up(held, "exchange_lost")


def _settle(held: tokens.Held) -> bool:
    company = str(held.pair.profile.get("company_id", ""))
    connection = held.connection
    if connection.company_id and company and company != connection.company_id:
        held.write(asks=True, error_kind="")
        audit.record(
            "connect.other_company",
            customer=connection.customer,
            subject=connection.code,
            company=company,
            expected=connection.company_id,
        )
        return False
    try:
        twin = _twin(held, company)
        if twin is not None:
            _join(held, twin)
        _connect(held)
    except IntegrityError:
        # Two attempts for one new company settled at the same moment; the other one won, and is our twin next time.
        return _later(held, "")
    return False


def _twin(held: tokens.Held, company: str) -> Connection | None:
    """The other connection that this customer already has for this company."""
    if not company:
        return None
    twin: Connection | None = (
        Connection.objects.filter(customer=held.connection.customer, company_id=company)
        .exclude(pk=held.connection.pk)
        .first()
    )
    return twin


def _join(held: tokens.Held, twin: Connection) -> None:
    """Hands the candidate to the connection that exists for its company; one made only for it disappears."""
    provisional = held.connection
    with transaction.atomic():
        held.move_to(twin)
        if provisional.state == State.CONNECTING and not provisional.pairs.exists():
            provisional.delete()


def _connect(held: tokens.Held) -> None:
    """The candidate becomes the pair in use, and the connection is what `/user` said it is."""
    connection = held.connection
    row = held.pair
    again = connection.connected_at is not None
    told = {name: value for name, value in row.profile.items() if value}
    with transaction.atomic():
        held.promote()
        connection.move_to(
            State.CONNECTED,
            connected_at=Now(),
            connected_by=row.brought_by,
            proved_at=row.proved_at,
            failed_checks=0,
            next_check_at=Now() + health.next_idle_check(),
            **told,
        )
        audit.record(
            "connect.reconnected" if again else "connect.connected",
            customer=connection.customer,
            actor=row.brought_by,
            subject=connection.code,
            company=connection.company_id,
            fingerprint=row.fingerprint,
        )


def _later(held: tokens.Held, error_kind: str) -> bool:
    tries = held.pair.tries + 1
    wait = health.LAST_RETRY if error_kind in SETUP_ERRORS else health.backoff(tries)
    held.write(error_kind=error_kind, tries=F("tries") + 1, next_try_at=Now() + (wait if error_kind else timedelta()))
    return False


def _give_up(held: tokens.Held, error_kind: str) -> bool:
    """SnapInspect refuses what it gave us: only a person can connect again. What worked before stays as it is."""
    connection = held.connection
    with transaction.atomic():
        held.discard()
        if connection.state == State.CONNECTING:
            connection.move_to(State.NEEDS_RECONNECT, error_kind=error_kind)
        audit.record("connect.failed", customer=connection.customer, subject=connection.code, error=error_kind)
    return False

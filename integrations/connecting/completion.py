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
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from integrations.events import parked, webhook_addresses
from integrations.models import SETUP_ERRORS, Connection, Kind, State, TokenPair, backoff
from integrations.tokens import circuit_breaker, exchange, lease, proof
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.exchange import Outcome

logger = logging.getLogger(__name__)

QUESTION_LIFETIME = timedelta(days=7)


def finish(pk: int) -> None:
    """Takes a candidate as far as it comes now: to *Connected*, to a question, to a later try, or to its end."""
    try:
        held = lease.claim_candidate(pk)
        if held is None:
            return
        with held:
            while _step(held):
                held.extend()
    except lease.LostLease:
        # Another worker holds it, or a newer answer of SnapInspect, or a disconnect, has taken its place.
        logger.info("Left candidate %s to whoever has it now.", pk)


def answer_question(connection: Connection, *, add: bool, by: User) -> Connection | None:
    """Settles a candidate that turned out to be another company: added beside this connection, or dropped.

    Returns the connection that now works with it, or None when it was dropped or is not waiting any more.
    """
    held = lease.claim_asking(connection)
    if held is None:
        return None  # who presses second finds nothing waiting
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
            existing = _connection_of_company(held, company) or Connection.objects.create(
                customer=connection.customer, connected_by=by
            )
            held.move_to(existing)
            held.write(asks=False)
        _activate(held)
        return existing


def expired_questions() -> "QuerySet[TokenPair]":
    """Candidates of another company that nobody has decided on within QUESTION_LIFETIME."""
    return TokenPair.objects.candidates().filter(asks=True, received_at__lt=Now() - QUESTION_LIFETIME)


def erase_unanswered(pk: int) -> None:
    """Erases such a candidate: tokens of a company that nobody chose are not kept for ever."""
    connection = Connection.objects.filter(pairs__in=expired_questions().filter(pk=pk)).first()
    held = lease.claim_asking(connection) if connection else None
    if held is None:
        return
    with held:
        if not expired_questions().filter(pk=held.pair.pk).exists():
            return  # answered meanwhile, and asked anew
        audit.record(
            "connect.other_company_lapsed",
            customer=held.connection.customer,
            subject=held.connection.code,
            company=str(held.pair.profile.get("company_id", "")),
        )
        held.discard()


def _step(held: lease.LeasedPair) -> bool:
    """Takes one step. Returns whether there is another one to take now."""
    row = held.pair
    try:
        if row.exchange_sent_at is not None:
            return _after_exchange(held, exchange.resolve(held))
        if row.proved_at is None:
            return _prove(held)
        if row.exchanged_at is None and row.sealed_refresh and settings.SNAPINSPECT_EXCHANGE_ON_CONNECT:
            return _after_exchange(held, exchange.exchange(held))
    except CannotUnseal:
        return _retry_later(held, "cannot_unseal")
    return _settle(held)


def _prove(held: lease.LeasedPair) -> bool:
    verdict = proof.check(held.client())
    if verdict.refused:
        return _fail(held, verdict.error_kind)
    if verdict.profile is None:
        return _retry_later(held, verdict.error_kind, verdict.retry_after)
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


def _after_exchange(held: lease.LeasedPair, ending: exchange.Result) -> bool:
    """After an exchange: with the new pair, later, or not at all."""
    if ending.outcome == Outcome.NEW:
        return True
    if ending.outcome == Outcome.DEAD:
        return _fail(held, ending.error_kind)
    return _retry_later(held, ending.error_kind, ending.retry_after)


def _settle(held: lease.LeasedPair) -> bool:
    company = str(held.pair.profile.get("company_id", ""))
    connection = held.connection
    # An answer that names no company proves nothing about the one this connection is for.
    if connection.company_id and company != connection.company_id:
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
        existing = _connection_of_company(held, company)
        if existing is not None:
            _merge_into(held, existing)
        _activate(held)
    except IntegrityError:
        # Two attempts for one new company settled at the same moment. The next try finds the connection of the other.
        return _retry_later(held, "")
    return False


def _connection_of_company(held: lease.LeasedPair, company: str) -> Connection | None:
    """The other connection that this customer already has for this company."""
    if not company:
        return None
    existing: Connection | None = (
        Connection.objects.filter(customer=held.connection.customer, company_id=company)
        .exclude(pk=held.connection.pk)
        .first()
    )
    return existing


def _merge_into(held: lease.LeasedPair, existing: Connection) -> None:
    """Hands the candidate to the connection that exists for its company; one made only for it disappears."""
    provisional = held.connection
    with transaction.atomic():
        held.move_to(existing)
        webhook_addresses.hand_over(provisional, existing)
        if provisional.connected_at is None and not provisional.pairs.exists():
            provisional.delete()


def _activate(held: lease.LeasedPair) -> None:
    """The candidate becomes the pair in use, and the connection is what `/user` said it is."""
    connection = held.connection
    row = held.pair
    again = connection.connected_at is not None
    told = {name: value for name, value in row.profile.items() if value}
    told["kind"] = Kind.CONNECT if row.sealed_refresh else Kind.PERSONAL
    with transaction.atomic():
        lease.lock_connection(connection)
        held.promote()
        connection.move_to(
            State.CONNECTED,
            connected_at=Now(),
            connected_by=row.brought_by or connection.connected_by,  # nobody brings a pair that came late
            proved_at=row.proved_at,
            failed_checks=0,
            refused_at=None,
            next_check_at=Now() + backoff.until_idle_check(),
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
        parked.resume_connection(connection)
        circuit_breaker.record_success(connection)
        # A new grant may have ended an older one of the same company, whoever it was given to.
        Connection.objects.siblings_of(connection).check_soon()


def _retry_later(held: lease.LeasedPair, error_kind: str, retry_after: float = 0.0) -> bool:
    tries = held.pair.tries + 1
    wait = backoff.LONGEST_OUTAGE_WAIT if error_kind in SETUP_ERRORS else backoff.wait_after_outage(tries, retry_after)
    held.write(error_kind=error_kind, tries=min(tries, 1000), next_try_at=Now() + wait if error_kind else Now())
    return False


def _fail(held: lease.LeasedPair, error_kind: str) -> bool:
    """SnapInspect refuses what it gave us: only a person can connect again. What worked before stays as it is."""
    connection = held.connection
    with transaction.atomic():
        lease.lock_connection(connection)
        held.discard()
        if connection.state == State.CONNECTING:
            connection.move_to(State.NEEDS_RECONNECT, error_kind=error_kind)
        audit.record("connect.failed", customer=connection.customer, subject=connection.code, error=error_kind)
    return False

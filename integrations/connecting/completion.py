"""Takes a candidate, the pair that a callback brought, to a working connection.

Every step is recorded on the pair's row and can be repeated, so another worker continues after one that was killed.

    prove      `/user` answers, and names the company
    exchange   replaces the pair that travelled in the browser's address, which is invalid from then on
    prove      `/user` answers to the new pair
    settle     makes it the current pair of this connection or of the one this customer already has for that company;
               if it is another company than before, a person decides
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts import audit
from integrations.events import parked, transfer, webhook_addresses
from integrations.models import (
    SETUP_ERRORS,
    Connection,
    ConnectSession,
    Kind,
    PanelAnswer,
    State,
    TokenPair,
    backoff,
)
from integrations.snapinspect.profile import Profile
from integrations.tokens import exchange, exchange_limit, lease, proof, renewal
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.exchange import Outcome

logger = logging.getLogger(__name__)

QUESTION_LIFETIME = timedelta(days=7)


def finish(pk: int) -> None:
    """Takes as many steps as possible now: to *Connected*, to a question, to a later try, or to failure."""
    try:
        held = lease.claim_candidate(pk)
        if held is None:
            return
        with held:
            while _step(held):
                held.extend()
    except lease.LostLease:
        # Another worker has its lease, or a newer callback or a disconnect has replaced it.
        logger.info("The lease of candidate %s was lost.", pk)


def answer_question(connection: Connection, *, add: bool, by: audit.Actor) -> Connection | None:
    """Adds a candidate of another company as a connection of its own, or discards it.

    Returns the connection that now uses it, or None when it was discarded or no longer waits for an answer.
    """
    held = lease.claim_asking(connection)
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
            existing = _connection_of_company(held, company) or Connection.objects.create(
                customer=connection.customer, connected_by=audit.person(by)
            )
            held.move_to(existing)
            held.write(asks=False)
        _activate(held)
        return existing


def told_by(profile: Profile) -> dict[str, str]:
    """What `TokenPair.profile` keeps of `/user`'s answer."""
    return {
        "company_id": profile.company_id or "",
        "company_name": profile.company_name or "",
        "account_name": profile.name or "",
        "account_email": profile.email or "",
    }


def expired_questions() -> "QuerySet[TokenPair]":
    """Candidates of another company that nobody has decided about within QUESTION_LIFETIME."""
    return TokenPair.objects.candidates().filter(asks=True, received_at__lt=Now() - QUESTION_LIFETIME)


def erase_unanswered(pk: int) -> None:
    """Erases a candidate that nobody has decided about in time."""
    connection = Connection.objects.filter(pairs__in=expired_questions().filter(pk=pk)).first()
    held = lease.claim_asking(connection) if connection else None
    if held is None:
        return
    with held:
        if not expired_questions().filter(pk=held.pair.pk).exists():
            return  # answered meanwhile, and replaced by a newer question
        audit.record(
            "connect.other_company_lapsed",
            customer=held.connection.customer,
            subject=held.connection.code,
            company=str(held.pair.profile.get("company_id", "")),
        )
        held.discard()


def _step(held: lease.LeasedPair) -> bool:
    """Takes one step; returns whether the next one can be taken now."""
    row = held.pair
    try:
        if row.exchange_sent_at is not None:
            return _after_exchange(held, exchange.resolve(held))
        if row.proved_at is None:
            return _prove(held)
        if row.exchanged_at is None and row.sealed_refresh and settings.SNAPINSPECT_EXCHANGE_ON_CONNECT:
            return _after_exchange(held, exchange.exchange(held))
        return _settle(held)
    except CannotUnseal:
        return _retry_later(held, "cannot_unseal")


def _prove(held: lease.LeasedPair) -> bool:
    verdict = proof.check(held.client(), company_id=held.company_id)
    if verdict.refused:
        fresh = TokenPair.objects.filter(pk=held.pair.pk, exchanged_at__gt=Now() - renewal.REFUSAL_GRACE)
        if fresh.exists():
            return _retry_later(held, "new_token_refused")
        return _fail(held, verdict.error_kind)
    if verdict.profile is None:
        return _retry_later(held, verdict.error_kind, verdict.retry_after)
    held.write(proved_at=Now(), profile=told_by(verdict.profile))
    return True


def _after_exchange(held: lease.LeasedPair, ending: exchange.Result) -> bool:
    """Decides by the result of an exchange: continue, retry later, or fail."""
    ending = exchange.of_working_pair(ending)
    if ending.outcome == Outcome.NEW:
        return True
    if ending.outcome == Outcome.DEAD:
        return _fail(held, ending.error_kind)
    return _retry_later(held, ending.error_kind, ending.retry_after)


def _settle(held: lease.LeasedPair) -> bool:
    company = str(held.pair.profile.get("company_id", ""))
    connection = held.connection
    # A profile without a company does not prove that this is the connection's company.
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
    """Moves the candidate to the existing connection of its company.

    A connection that was made only for it is deleted; what came to its webhook address moves along.
    """
    provisional = held.connection
    with transaction.atomic():
        transfer.lock(provisional, existing)
        held.move_to(existing)
        webhook_addresses.hand_over(provisional, existing)
        if provisional.connected_at is None and not provisional.pairs.exists():
            transfer.move_events(provisional, existing)
            provisional.delete()


def _activate(held: lease.LeasedPair) -> None:
    """Makes the candidate the current pair, and the connection *Connected* with what `/user` told."""
    connection = held.connection
    row = held.pair
    again = connection.connected_at is not None
    told = {name: value for name, value in row.profile.items() if value}
    # Whose access it is now: a former user's name must not stay.
    told |= {name: row.profile.get(name, "") for name in ("account_name", "account_email")}
    told["kind"] = Kind.CONNECT if row.sealed_refresh else Kind.PERSONAL
    # The new grant may have ended an older one of the same company, in any customer. Row by row, and outside of the
    # transaction: two connections of one company that are activated at once would wait for each other's row.
    company = str(told.get("company_id", connection.company_id))
    for other in Connection.objects.others_of(company, connection).values_list("pk", flat=True):
        Connection.objects.filter(pk=other).check_soon()
    with transaction.atomic():
        lease.lock_connection(connection)
        held.promote()
        ConnectSession.objects.filter(pair=row.pk, status=ConnectSession.Status.STARTED).update(
            status=ConnectSession.Status.CONNECTED, connection=connection
        )
        connection.move_to(
            State.CONNECTED,
            connected_at=Now(),
            connected_by=row.brought_by or connection.connected_by,  # nobody brought a pair that the spool kept
            proved_at=row.proved_at,
            failed_checks=0,
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
        # What panels have stored was told to the access before.
        PanelAnswer.objects.filter(connection=connection).delete()
        parked.resume_connection(connection)
        exchange_limit.note_accepted(connection)


def _retry_later(held: lease.LeasedPair, error_kind: str, retry_after: float = 0.0) -> bool:
    tries = held.pair.tries
    wait = backoff.LONGEST_OUTAGE_WAIT if error_kind in SETUP_ERRORS else backoff.wait_after_outage(tries, retry_after)
    held.write(error_kind=error_kind, tries=min(tries + 1, 1000), next_try_at=Now() + wait if error_kind else Now())
    return False


def _fail(held: lease.LeasedPair, error_kind: str) -> bool:
    """Discards a refused candidate: only a person can connect again. The current pair is not changed."""
    connection = held.connection
    with transaction.atomic():
        lease.lock_connection(connection)
        held.discard()
        if connection.state == State.CONNECTING:
            connection.move_to(State.NEEDS_RECONNECT, error_kind=error_kind)
        audit.record("connect.failed", customer=connection.customer, subject=connection.code, error=error_kind)
    return False

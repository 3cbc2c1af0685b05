"""Replaces a token pair that SnapInspect refuses: one check and one exchange, however many callers meet the same 401.

All callers that meet a 401 at the same moment, in any number of processes, call `renew()`. One of them gets the lease;
the others poll the row. Once its version has changed, all of them repeat their call with the new token.
"""

import random
import time
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from integrations.models import SETUP_ERRORS, Connection, State, TokenPair, backoff, leases
from integrations.tokens import custody, diagnosis, exchange, exchange_limit, lease, proof
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.exchange import Outcome
from integrations.tokens.lease import LeasedPair, PairVersion

# Longer than a lease: if its holder dies, a caller that waits takes over.
WAIT_FOR_OTHERS = leases.LEASE.total_seconds() + 15.0  # seconds
POLL_INTERVAL = (0.05, 0.15)  # seconds, from and to
# A new pair that SnapInspect refuses, or a refusal of an exchange without a reason, is an outage for so long.
REFUSAL_GRACE = timedelta(minutes=15)
# When SnapInspect accepts nobody else either, a refused connection waits for that so long before a person is asked.
WAIT_FOR_ACCEPTANCE = timedelta(days=1)
# A pair from an exchange that has never worked is not exchanged again sooner: that would only invalidate another pair.
UNPROVED_FOR = timedelta(hours=6)


class NotRenewed(Exception):
    """The refused token could not be replaced now; `error_kind` says why, `needs_person` whether only a person can."""

    def __init__(self, error_kind: str, *, needs_person: bool = False) -> None:
        super().__init__(error_kind)
        self.error_kind = error_kind
        self.needs_person = needs_person


def renew(connection: Connection, *, refused: PairVersion) -> None:
    """Returns once another pair than the refused one is current, or SnapInspect has accepted the refused one after all.

    Raises NotRenewed, and CannotUnseal when our keys do not open the tokens.
    """
    give_up_at = time.monotonic() + WAIT_FOR_OTHERS
    while (found := custody.pair_status(connection)) is not None and found.pair == refused:
        leased = None if found.is_leased else lease.claim_current(*refused)
        if leased is not None:
            try:
                with leased:
                    return _renew(leased)
            except lease.LostLease:
                continue  # suspended past the lease: another process has renewed it, or is about to
        if found.is_leased and found.needs_person:
            raise NotRenewed("token_refused", needs_person=True)
        if time.monotonic() > give_up_at:
            raise NotRenewed("timeout")
        time.sleep(random.uniform(*POLL_INTERVAL))  # noqa: S311
    if found is None:
        raise NotRenewed("nothing_kept", needs_person=True)
    return None


def replace(connection: Connection) -> None:
    """Exchanges the current pair because a person asked for it. Raises what renew() raises."""
    current = custody.current_pair(connection)
    if current is None or connection.is_personal:
        raise NotRenewed("nothing_kept")
    leased = lease.claim_current(*current)
    if leased is None:
        raise NotRenewed("busy")
    try:
        with leased:
            if leased.pair.exchange_sent_at is not None:
                # An earlier exchange may have returned a pair, which another exchange would invalidate.
                return _apply(leased, exchange.resolve(leased))
            if TokenPair.objects.waiting().filter(pk=leased.pair.pk, error_kind="too_many_requests").exists():
                raise NotRenewed("too_many_requests")
            return _apply(leased, exchange.of_working_pair(exchange.exchange(leased)))
    except lease.LostLease:
        raise NotRenewed("busy") from None


def resume(pk: int) -> None:
    """Resolves an exchange whose sender died."""
    row = TokenPair.objects.interrupted().filter(pk=pk).first()
    leased = lease.claim_current(row.pk, row.version) if row else None
    if leased is None:
        return
    try:
        with leased:
            try:
                _apply(leased, exchange.resolve(leased))
            except CannotUnseal:
                # Nothing can be sent until the key is configured again.
                leased.write(next_try_at=Now() + backoff.LONGEST_OUTAGE_WAIT)
    except (NotRenewed, lease.LostLease):
        return  # stored in the row already


def _renew(leased: LeasedPair) -> None:
    if TokenPair.objects.waiting().filter(pk=leased.pair.pk).exists():
        # An earlier attempt has set the time of the next one; nobody asks SnapInspect before it.
        needs_person = leased.connection.state == State.NEEDS_RECONNECT
        raise NotRenewed(leased.pair.error_kind, needs_person=needs_person)
    if leased.pair.exchange_sent_at is not None:
        return _apply(leased, exchange.resolve(leased))
    leased.extend()
    verdict = proof.check(leased.client(), company_id=leased.company_id)
    if verdict.profile is not None:
        leased.write(proved_at=Now(), error_kind="", tries=0)
        return None
    if not verdict.refused:
        raise NotRenewed(verdict.error_kind)
    exchange_limit.note_refused(leased.connection)
    if leased.connection.is_personal:
        return _ask_person_unless_outage(leased, "token_refused")
    if leased.pair.proved_at is None:
        mine = TokenPair.objects.filter(pk=leased.pair.pk)
        if mine.filter(exchanged_at__gt=Now() - REFUSAL_GRACE).exists():
            raise NotRenewed("new_token_refused")
        if mine.filter(exchanged_at__gt=Now() - UNPROVED_FOR).exists():
            return _ask_person_unless_outage(leased, "token_refused")
    if not exchange_limit.allows(leased.connection):
        raise NotRenewed("many_refused")
    return _apply(leased, exchange.exchange(leased))


def _apply(leased: LeasedPair, result: exchange.Result) -> None:
    """Stores what follows from an exchange's result, and checks a new pair. Raises NotRenewed."""
    if result.outcome == Outcome.DEAD:
        exchange_limit.note_refused(leased.connection)
        return _ask_person_unless_outage(leased, result.error_kind)
    if result.outcome != Outcome.NEW:
        if result.outcome == Outcome.UNCHANGED:
            exchange_limit.release(leased.connection)
        return _try_later(leased, result.error_kind, result.retry_after)
    leased.extend()
    verdict = proof.check(leased.client(), company_id=leased.company_id)
    if verdict.profile is not None:
        leased.write(proved_at=Now(), tries=0)
        exchange_limit.note_accepted(leased.connection)
        if leased.connection.state != State.CONNECTED:
            leased.connection.check_soon()
    elif verdict.refused and _never_worked(leased.pair):
        leased.connection.check_soon()
        raise NotRenewed("new_token_refused")
    else:
        # Not known yet whether the new pair works. Or it worked for a faster caller, and this is another 401.
        leased.connection.check_soon()
    return None


def _never_worked(new: TokenPair) -> bool:
    """Returns whether SnapInspect has accepted this pair from nobody yet, in any process."""
    return TokenPair.objects.filter(pk=new.pk, version=new.version, proved_at=None).exists()


def _ask_person_unless_outage(leased: LeasedPair, error_kind: str) -> None:
    """Moves a refused connection to Needs reconnect, unless it is SnapInspect's trouble, or this app's, or over.

    Raises NotRenewed; returns when SnapInspect accepts the pair after all.
    """
    connection = leased.connection
    if connection.state == State.NEEDS_RECONNECT:
        return _needs_person(leased, error_kind)
    no_reason = error_kind == "exchange_rejected"
    reason = error_kind in {"grant_refused", "exchange_lost"}
    if no_reason and diagnosis.secret_is_new():
        return _app_is_refused(leased)
    leased.extend()
    others_accepted = diagnosis.accepts_others(connection, at_least=diagnosis.DOUBTS_REASON if reason else 1)
    if others_accepted is False and not _in_trouble_for(connection, WAIT_FOR_ACCEPTANCE):
        exchange_limit.tell_operator()
        return _try_later(leased, "many_refused")
    if no_reason and diagnosis.rejects_others(connection):
        return _app_is_refused(leased)
    lately = TokenPair.objects.filter(pk=leased.pair.pk, exchange_sent_at__gt=Now() - REFUSAL_GRACE)
    if no_reason and others_accepted is not None and lately.exists():
        return _try_later(leased, error_kind)
    if others_accepted:
        # An outage may have ended since this connection was refused.
        leased.extend()
        verdict = proof.check(leased.client(), company_id=leased.company_id)
        if verdict.profile is not None:
            exchange.clear_journal(leased)
            leased.write(proved_at=Now(), error_kind="", tries=0)
            return exchange_limit.note_accepted(connection)
        if not verdict.refused:
            return _try_later(leased, verdict.error_kind, verdict.retry_after)
        if error_kind == "many_refused":
            # While SnapInspect refused everybody it refused this exchange too, which proves nothing: once more.
            exchange.clear_journal(leased)
            return _apply(leased, exchange.exchange(leased))
    return _needs_person(leased, "token_refused" if error_kind == "many_refused" else error_kind)


def _in_trouble_for(connection: Connection, at_least: timedelta) -> bool:
    return Connection.objects.filter(pk=connection.pk, state=State.TROUBLE, state_since__lt=Now() - at_least).exists()


def _app_is_refused(leased: LeasedPair) -> None:
    """Has the exchange sent again later: it was refused because of this app's client ID or secret."""
    exchange_limit.release(leased.connection)
    leased.write(exchange_sends=exchange.MAX_SENDS - 1)
    _try_later(leased, "exchange_refused")


def _try_later(leased: LeasedPair, error_kind: str, retry_after: float = 0.0) -> None:
    """Sets the time of the next try. Raises NotRenewed."""
    tries = leased.pair.tries
    setup = error_kind in SETUP_ERRORS
    wait = backoff.wait_after_refused_app(tries) if setup else backoff.wait_after_outage(tries, retry_after)
    leased.write(error_kind=error_kind, tries=min(tries + 1, 100), next_try_at=Now() + wait)
    raise NotRenewed(error_kind)


def _needs_person(leased: LeasedPair, error_kind: str) -> None:
    """Moves the connection to Needs reconnect. The pair is kept, and checked once an hour in case it works again."""
    connection = leased.connection
    again = backoff.until_refused_check()
    with transaction.atomic():
        lease.lock_connection(connection)
        # The guarded write first: without the lease, nothing is known about a pair that another process has renewed.
        leased.write(error_kind=error_kind, next_try_at=Now() + again)
        connection.refresh_from_db()
        if connection.state == State.DISCONNECTED:
            raise lease.LostLease
        if connection.state != State.NEEDS_RECONNECT:
            audit.record(
                "connection.needs_reconnect",
                customer=connection.customer,
                subject=connection.code,
                error=error_kind,
                fingerprint=leased.pair.fingerprint,
            )
        connection.move_to(State.NEEDS_RECONNECT, error_kind=error_kind, next_check_at=Now() + again)
    exchange_limit.end_if_over()
    raise NotRenewed(error_kind, needs_person=True)

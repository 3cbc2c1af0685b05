"""What happens when SnapInspect refuses a token that used to work: one proof, one exchange, for everybody who met it.

Callers that meet a 401 at the same moment, in any number of processes, end up in `renew()` together. One of them gets
the lease; the others wait and watch the row. When the version has moved on, all of them call again with the new token.
"""

import random
import time
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from integrations.models import Connection, State, TokenPair, backoff
from integrations.tokens import circuit_breaker, custody, exchange, lease, proof
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.exchange import Outcome
from integrations.tokens.lease import Held

# Longer than a lease: if the holder dies, whoever waits takes over.
JOINERS_WAIT = 60.0  # seconds
LOOK_EVERY = (0.05, 0.15)  # seconds
# A pair that came from an exchange and has never worked is not exchanged again so soon: it would only burn another.
UNPROVED_FOR = timedelta(hours=6)


class NotRenewed(Exception):
    """The refused token could not be replaced now; `error_kind` says why, `needs_person` whether only a person can."""

    def __init__(self, error_kind: str, *, needs_person: bool = False) -> None:
        super().__init__(error_kind)
        self.error_kind = error_kind
        self.needs_person = needs_person


def renew(connection: Connection, *, refused: tuple[int, int]) -> None:
    """Returns once another pair than the refused one (its id and version) is in use, or the refusal proved wrong.

    Raises NotRenewed; CannotUnseal when our keys do not open the tokens.
    """
    give_up_at = time.monotonic() + JOINERS_WAIT
    while custody.in_use(connection) == refused:
        held = lease.hold_in_use(*refused)
        if held is not None:
            try:
                with held:
                    return _renew(held)
            except lease.LostLease:
                continue  # frozen past the lease: somebody else has renewed, or is about to
        if Connection.objects.filter(pk=connection.pk, state=State.NEEDS_RECONNECT).exists():
            raise NotRenewed("token_refused", needs_person=True)
        if time.monotonic() > give_up_at:
            raise NotRenewed("timeout")
        time.sleep(random.uniform(*LOOK_EVERY))  # noqa: S311
    if custody.in_use(connection) is None:
        raise NotRenewed("nothing_kept", needs_person=True)
    return None


def replace(connection: Connection) -> None:
    """Exchanges the pair in use because a person asked for it. Raises what renew() raises."""
    in_use = custody.in_use(connection)
    if in_use is None or connection.is_personal:
        raise NotRenewed("nothing_kept")
    held = lease.hold_in_use(*in_use)
    if held is None:
        raise NotRenewed("busy")
    try:
        with held:
            if held.pair.exchange_sent_at is not None:
                # What an earlier exchange has brought must not be lost for another one.
                return _conclude(held, exchange.find_out(held))
            if TokenPair.objects.waiting().filter(pk=held.pair.pk, error_kind="too_many_requests").exists():
                raise NotRenewed("too_many_requests")
            return _exchange(held)
    except lease.LostLease:
        raise NotRenewed("busy") from None


def resume(pk: int) -> None:
    """Finds out how an exchange ended whose sender is gone."""
    row = TokenPair.objects.interrupted().filter(pk=pk).first()
    held = lease.hold_in_use(row.pk, row.version) if row else None
    if held is None:
        return
    try:
        with held:
            try:
                _conclude(held, exchange.find_out(held))
            except CannotUnseal:
                # Until the key is back there is nothing to ask with.
                held.write(next_try_at=Now() + backoff.LONGEST_OUTAGE_WAIT)
    except (NotRenewed, lease.LostLease):
        return  # written down where it belongs


def _renew(held: Held) -> None:
    if TokenPair.objects.waiting().filter(pk=held.pair.pk).exists():
        # Whoever asked before us was told when to ask again, and everybody who calls meanwhile need not.
        needs_person = held.connection.state == State.NEEDS_RECONNECT
        raise NotRenewed(held.pair.error_kind, needs_person=needs_person)
    if held.pair.exchange_sent_at is not None:
        return _conclude(held, exchange.find_out(held))
    held.renew()
    verdict = proof.ask(held.client())
    if verdict.profile is not None:
        held.write(proved_at=Now(), error_kind="")
        return None
    if not verdict.refused:
        raise NotRenewed(verdict.error_kind)
    if held.connection.is_personal:
        return _needs_person(held, "token_refused")
    never_worked = held.pair.proved_at is None and held.pair.exchanged_at is not None
    if never_worked and TokenPair.objects.filter(pk=held.pair.pk, exchanged_at__gt=Now() - UNPROVED_FOR).exists():
        return _needs_person(held, "token_refused")
    if not circuit_breaker.admits(held.connection):
        raise NotRenewed("many_refused")
    return _exchange(held)


def _exchange(held: Held) -> None:
    return _conclude(held, exchange.exchange(held))


def _conclude(held: Held, ending: exchange.Ending) -> None:
    if ending.outcome == Outcome.DEAD:
        return _needs_person(held, ending.error_kind)
    if ending.outcome != Outcome.NEW:
        wait = backoff.wait_after_outage(held.pair.tries, ending.retry_after)
        held.write(error_kind=ending.error_kind, tries=min(held.pair.tries + 1, 100), next_try_at=Now() + wait)
        raise NotRenewed(ending.error_kind)
    held.renew()
    verdict = proof.ask(held.client())
    if verdict.profile is not None:
        held.write(proved_at=Now(), tries=0)
        circuit_breaker.works_again(held.connection)
        if held.connection.state != State.CONNECTED:
            held.connection.ask_soon()
    elif verdict.refused and _never_worked(held.pair):
        return _needs_person(held, verdict.error_kind)
    else:
        # Nobody knows yet whether the new pair works; or it did, for a caller who was faster, and this is another 401.
        held.connection.ask_soon()
    return None


def _never_worked(new: TokenPair) -> bool:
    """Whether this pair, fresh from an exchange, has answered nobody until now."""
    return TokenPair.objects.filter(pk=new.pk, version=new.version, proved_at=None).exists()


def _needs_person(held: Held, error_kind: str) -> None:
    """The proven end of what we can do. The pair is kept: once an hour it is asked whether it works after all."""
    connection = held.connection
    again = backoff.until_refused_check()
    with transaction.atomic():
        lease.hold_still(connection)
        # First the guarded write: who lost the lease must not judge a pair that somebody else has renewed.
        held.write(error_kind=error_kind, next_try_at=Now() + again)
        connection.refresh_from_db()
        if connection.state == State.DISCONNECTED:
            raise lease.LostLease
        if connection.state != State.NEEDS_RECONNECT:
            audit.record(
                "connection.needs_reconnect",
                customer=connection.customer,
                subject=connection.code,
                error=error_kind,
                fingerprint=held.pair.fingerprint,
            )
        connection.move_to(State.NEEDS_RECONNECT, error_kind=error_kind, next_check_at=Now() + again)
    raise NotRenewed(error_kind, needs_person=True)

"""Exchanges a token pair, and finds out what an exchange did whose answer was lost.

A lost answer can cost a customer's connection: the tokens may have been replaced, and we do not know the new ones. The
old access token tells. If it still works, nothing happened. If it is dead, the old refresh token is sent once more, in
case SnapInspect accepts it, and never again.
"""

import logging
from dataclasses import dataclass, replace
from enum import Enum, auto

from accounts import audit
from integrations.snapinspect.errors import Refused, SnapInspectError, TokenRefused, Unreachable
from integrations.tokens import diagnosis, proof
from integrations.tokens.lease import LeasedPair, NoDiskSpace

logger = logging.getLogger(__name__)

MAX_SENDS = 2
# Error kinds of an exchange that was refused, and whose answer was not lost: without a reason, and with one.
REFUSALS = frozenset({"exchange_rejected", "grant_refused"})


class Outcome(Enum):
    NEW = auto()  # a new pair is stored, and has not been used yet
    UNCHANGED = auto()  # nothing happened; the old pair works
    UNKNOWN = auto()  # not known yet: the journal stays written, try again later
    DEAD = auto()  # the old pair is refused, and there is no new one


@dataclass(frozen=True)
class Result:
    """`retry_after`: seconds that SnapInspect asked us to wait; nothing was sent to it since."""

    outcome: Outcome
    error_kind: str = ""
    retry_after: float = 0.0


def exchange(leased: LeasedPair) -> Result:
    """Sends one exchange and resolves its outcome. Raises CannotUnseal before anything is sent."""
    before = leased.pair.fingerprint
    try:
        same_state = leased.exchange()
    except NoDiskSpace:
        logger.exception("There is no room on disk for the answer of an exchange, so none was sent.")
        return Result(Outcome.UNCHANGED, "no_room")
    except SnapInspectError as error:
        wait = error.retry_after or 0.0
        if leased.pair.exchange_sent_at is None:  # never sent, or rejected without being processed
            return Result(Outcome.UNCHANGED, error.kind, wait)
        if isinstance(error, Unreachable) and leased.pair.exchange_sends >= MAX_SENDS:
            # The last send got no answer either. An outage proves nothing, so this send does not count.
            leased.write(exchange_sends=MAX_SENDS - 1, error_kind=error.kind)
            return Result(Outcome.UNKNOWN, error.kind, wait)
        if error.kind == "exchange_refused":
            return _after_refused_client(leased)
        if error.kind == "grant_refused":
            # Sending it again would be refused again. An earlier send without an answer has used it up.
            lost = leased.pair.exchange_sends > 1 and leased.pair.error_kind not in REFUSALS
            leased.write(error_kind="exchange_lost" if lost else error.kind, exchange_sends=MAX_SENDS)
            return resolve(leased)
        leased.write(error_kind="exchange_rejected" if isinstance(error, Refused | TokenRefused) else error.kind)
        return Result(Outcome.UNKNOWN, error.kind, wait) if wait else resolve(leased)
    diagnosis.note_accepted_exchange()
    audit.record(
        "tokens.exchanged",
        customer=leased.connection.customer,
        subject=leased.connection.code,
        old=before,
        fingerprint=leased.pair.fingerprint,
        state_returned=same_state,
    )
    return Result(Outcome.NEW)


def resolve(leased: LeasedPair) -> Result:
    """Finds out what a journalled exchange did whose answer was not stored."""
    if leased.commit_spooled():
        return Result(Outcome.NEW)
    leased.extend()
    verdict = proof.check(leased.client(), company_id=leased.company_id)
    if verdict.profile is not None:
        kind = leased.pair.error_kind or "exchange_unanswered"
        clear_journal(leased)
        return Result(Outcome.UNCHANGED, kind)
    if not verdict.refused:
        return Result(Outcome.UNKNOWN, verdict.error_kind, verdict.retry_after)
    if leased.pair.exchange_sends < MAX_SENDS:
        return exchange(leased)
    known = leased.pair.error_kind in {*REFUSALS, "many_refused"}
    return Result(Outcome.DEAD, leased.pair.error_kind if known else "exchange_lost")


def of_working_pair(result: Result) -> Result:
    """Returns the result for a pair that was accepted before its exchange: a refusal is then about this app."""
    if result.outcome == Outcome.UNCHANGED and result.error_kind in REFUSALS:
        return replace(result, error_kind="exchange_refused")
    return result


def clear_journal(leased: LeasedPair) -> None:
    """Records that no exchange of this pair is under way."""
    leased.write(exchange_sent_at=None, exchange_sends=0, room=b"")


def _after_refused_client(leased: LeasedPair) -> Result:
    """The result when SnapInspect refused this app: it looks at the refresh token only after that.

    RFC 6749 section 6: the client is authenticated first.
    """
    if leased.pair.exchange_sends > 1:
        # This send did nothing. What an earlier one did is still to be found out.
        leased.write(exchange_sends=leased.pair.exchange_sends - 1, error_kind="exchange_refused")
        return Result(Outcome.UNKNOWN, "exchange_refused")
    clear_journal(leased)
    return Result(Outcome.UNCHANGED, "exchange_refused")

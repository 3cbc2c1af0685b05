"""Replaces a pair by an exchange, and finds out how one ended whose answer never came.

A lost answer is the one thing in this protocol that can cost a customer's connection: the tokens may have been replaced
without our knowing the new ones. The old access token tells. It still works: nothing happened. It is dead: the old
refresh token is tried once more, in case SnapInspect honours it, and never again.
"""

import logging
from dataclasses import dataclass
from enum import Enum, auto

from accounts import audit
from integrations.snapinspect.errors import Refused, SnapInspectError, TokenRefused, Unreachable
from integrations.tokens import proof
from integrations.tokens.lease import Held, NoRoom

logger = logging.getLogger(__name__)

SENDS_OF_ONE_EXCHANGE = 2


class Outcome(Enum):
    NEW = auto()  # a new pair is in place, and has not been used yet
    UNCHANGED = auto()  # nothing happened; the old pair works
    UNKNOWN = auto()  # nobody knows yet: the journal stays written, ask later
    DEAD = auto()  # the old pair is refused, and there is no other


@dataclass(frozen=True)
class Ending:
    """`retry_after`: seconds that SnapInspect asked us to wait; it was asked nothing since."""

    outcome: Outcome
    error_kind: str = ""
    retry_after: float = 0.0


def exchange(held: Held) -> Ending:
    """Sends one exchange and sees it through to an ending. Raises CannotUnseal before anything is sent."""
    before = held.pair.fingerprint
    try:
        same_state = held.exchange()
    except NoRoom:
        logger.exception("There is no room on disk for the answer of an exchange, so none was sent.")
        return Ending(Outcome.UNCHANGED, "no_room")
    except SnapInspectError as error:
        wait = error.retry_after or 0.0
        if held.pair.exchange_sent_at is None:  # it never left, or was turned away
            return Ending(Outcome.UNCHANGED, error.kind, wait)
        if isinstance(error, Unreachable) and held.pair.exchange_sends >= SENDS_OF_ONE_EXCHANGE:
            # The last send did not reach an answer either: an outage proves nothing, so it is not the last.
            held.write(exchange_sends=SENDS_OF_ONE_EXCHANGE - 1, error_kind=error.kind)
            return Ending(Outcome.UNKNOWN, error.kind, wait)
        held.write(error_kind="exchange_refused" if isinstance(error, Refused | TokenRefused) else error.kind)
        return Ending(Outcome.UNKNOWN, error.kind, wait) if wait else find_out(held)
    audit.record(
        "tokens.exchanged",
        customer=held.connection.customer,
        subject=held.connection.code,
        old=before,
        fingerprint=held.pair.fingerprint,
        state_returned=same_state,
    )
    return Ending(Outcome.NEW)


def find_out(held: Held) -> Ending:
    """How an exchange ended that was sent and not answered, by us or by a process that is gone."""
    if held.take_spooled():
        return Ending(Outcome.NEW)
    held.renew()
    verdict = proof.ask(held.client())
    if verdict.profile is not None:
        kind = held.pair.error_kind or "exchange_unanswered"
        held.write(exchange_sent_at=None, exchange_sends=0, room=b"")
        return Ending(Outcome.UNCHANGED, kind)
    if not verdict.refused:
        return Ending(Outcome.UNKNOWN, verdict.error_kind, verdict.retry_after)
    if held.pair.exchange_sends < SENDS_OF_ONE_EXCHANGE:
        return exchange(held)
    return Ending(Outcome.DEAD, "exchange_lost")

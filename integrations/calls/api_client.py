"""SnapInspect's API, called with a connection's own token.

A refused token is renewed and the call made again, once for all callers. What remains is an answer, or NoAnswer with an
error kind that pages can put into words.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from integrations.calls import health_check, limits
from integrations.models import Connection
from integrations.snapinspect.client import Answer, RawAnswer
from integrations.snapinspect.errors import BadPath, SnapInspectError, TokenRefused
from integrations.tokens import custody, renewal
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.proof import Verdict

# Bounds of a call that a person waits for: seconds and bytes.
LOOK_SECONDS = 10.0
LOOK_BYTES = 2_000_000


class NoAnswer(Exception):
    """A call that brought nothing. `error_kind` is fit for data and pages; `is_outage`: the same call may do later,
    and not before `retry_after` seconds if SnapInspect has said so."""

    def __init__(
        self, error_kind: str, *, is_outage: bool, status: int | None = None, retry_after: float = 0.0
    ) -> None:
        super().__init__(error_kind)
        self.error_kind = error_kind
        self.is_outage = is_outage
        self.status = status
        self.retry_after = retry_after


def get(connection: Connection, path: str, *, deadline: float | None = None) -> Answer:
    """What SnapInspect's API answers at this path, for this connection's customer.

    deadline: seconds for a call, retries included; None for the client's own. Raises NoAnswer; BadPath for a path that
    would leave the API base.
    """
    with _as_no_answer(connection):
        client, in_use = custody.client_and_pair(connection)
        try:
            return client.get(path, deadline=deadline)
        except TokenRefused:
            renewal.renew(connection, refused=in_use)
        client, in_use = custody.client_and_pair(connection)
        answer = client.get(path, deadline=deadline)
        custody.mark_proved(in_use)
        return answer


def show(connection: Connection, path: str) -> RawAnswer:
    """Whatever SnapInspect answers at this path, errors included, for a person who waits.

    A 401 is dealt with as in `get`. Raises NoAnswer without an answer (at once, and of the kind "busy", when too
    many people wait already); BadPath.
    """
    with _as_no_answer(connection), limits.slot(connection.pk):
        client, in_use = custody.client_and_pair(connection)
        shown = client.get_raw(path, deadline=LOOK_SECONDS, max_bytes=LOOK_BYTES)
        if shown.status == 401:
            renewal.renew(connection, refused=in_use)
            client, in_use = custody.client_and_pair(connection)
            shown = client.get_raw(path, deadline=LOOK_SECONDS, max_bytes=LOOK_BYTES)
        if shown.status < 300:
            custody.mark_proved(in_use)
        return shown


def peek(connection: Connection, path: str) -> Answer:
    """Like `get`, for somebody who only looks: bounded as in `show`, and a refused token is left to a worker."""
    with _as_no_answer(connection), limits.slot(connection.pk):
        try:
            return custody.client_for(connection).get(path, deadline=LOOK_SECONDS, max_bytes=LOOK_BYTES)
        except TokenRefused:
            connection.check_soon()
            raise


@contextmanager
def _as_no_answer(connection: Connection) -> Iterator[None]:
    """Turns whatever keeps a call from being answered into NoAnswer."""
    try:
        yield
    except BadPath:
        raise
    except SnapInspectError as error:
        outage = error.status is None or error.status in {429, 500, 502, 503, 504}
        wait = error.retry_after or 0.0
        raise NoAnswer(error.kind, is_outage=outage, status=error.status, retry_after=wait) from None
    except renewal.NotRenewed as problem:
        health_check.note_trouble(connection, problem)
        raise NoAnswer(problem.error_kind, is_outage=not problem.needs_person) from None
    except limits.Busy:
        raise NoAnswer("busy", is_outage=True) from None
    except custody.NoTokens:
        raise NoAnswer("nothing_kept", is_outage=False) from None
    except CannotUnseal:
        health_check.conclude(connection, Verdict(error_kind="cannot_unseal"))
        raise NoAnswer("cannot_unseal", is_outage=True) from None

"""Calls of SnapInspect's API with a connection's own token.

A refused token is renewed and the call made again, once for all callers. A call returns an answer or raises NoAnswer,
whose error kind pages put into words.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from integrations.calls import limits, verdicts
from integrations.calls.request_body import RequestBody
from integrations.models import Connection, SealedPair
from integrations.snapinspect import error_answers
from integrations.snapinspect.client import SAFE_METHODS, Answer, Client, ForwardedAnswer, RawAnswer
from integrations.snapinspect.errors import BadPath, SnapInspectError, TokenRefused, Unreachable
from integrations.tokens import custody, proof, renewal
from integrations.tokens.encryption import CannotUnseal
from integrations.tokens.proof import Verdict

Result = TypeVar("Result")

# Bounds of a call that a person waits for.
PERSON_WAITS_SECONDS = 10.0
PERSON_WAITS_BYTES = 2_000_000
# Bounds of a request that is forwarded: for each of its tries until the last byte of the answer, and of both bodies.
FORWARD_SECONDS = 20.0
FORWARD_BYTES = 10 * 1024 * 1024
FORWARD_ANSWER_BYTES = 50 * 1024 * 1024


@dataclass(eq=False)
class NoAnswer(Exception):
    """A call without a result.

    error_kind: fit for data and pages; detail explains it to staff. is_outage: the same call may succeed later, but not
    before `retry_after` seconds if SnapInspect has said so.
    """

    error_kind: str
    is_outage: bool
    status: int | None = None
    retry_after: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Forward:
    """A request that is passed on: path with query, headers that replace our own."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: RequestBody = field(repr=False)

    @property
    def is_safe(self) -> bool:
        return self.method in SAFE_METHODS


def get(connection: Connection, path: str) -> Answer:
    """The JSON answer of SnapInspect's API at this path, for this connection's customer.

    Raises NoAnswer; BadPath for a path that would leave the API base.
    """
    with _as_no_answer(connection):
        client, in_use = custody.client_and_pair(connection)
        try:
            return client.get(path)
        except TokenRefused:
            renewal.renew(connection, refused=in_use.pair_version)
        client, in_use = custody.client_and_pair(connection)
        answer = client.get(path)
        if error_answers.has_content(answer.json):
            custody.mark_proved(in_use.pair_version)
        return answer


def get_raw(connection: Connection, path: str) -> RawAnswer:
    """The answer at this path whatever its status, for a person who waits. Renews a refused token like `get`.

    Raises NoAnswer without an answer (at once, and of the kind "busy", when too many people wait already); BadPath.
    """

    def call(client: Client) -> RawAnswer:
        return client.get_raw(path, deadline=PERSON_WAITS_SECONDS, max_bytes=PERSON_WAITS_BYTES)

    with _as_no_answer(connection), limits.slot(connection.code):
        return _renewing(connection, call, refused=_is_refused, proved=_is_proof)


def forward(connection: Connection, request: Forward, *, pair: SealedPair | None = None) -> tuple[ForwardedAnswer, int]:
    """SnapInspect's answer to this request whatever its status, and how often the request was sent.

    pair: the connection's, as it was read just now; None to read it.

    A refused token is renewed, and the request is sent once more. A safe one is also sent once more if the connection
    broke before an answer came, or within a short one; any other is not, since it may have had its effect. Raises
    NoAnswer (at once, and of the kind "busy", when too many calls are under way), BadPath, BodyCutOff. The rest of a
    long answer is read afterwards: in the web process the slot is held until then (`connectapp.gunicorn_worker`).
    """
    with _as_no_answer(connection), limits.slot(connection.code):
        client, in_use = custody.client_and_pair(connection, pair)
        answer, sent = _send(client, request)
        if answer.status == 401 or (request.is_safe and answer.reports_refusal):
            renewal.renew(connection, refused=in_use.pair_version)
            client, in_use = custody.client_and_pair(connection)
            answer, again = _send(client, request)
            sent += again
            if answer.status < 300 and not answer.reports_refusal:
                custody.mark_proved(in_use.pair_version)
        return answer, sent


def _send(client: Client, request: Forward) -> tuple[ForwardedAnswer, int]:
    give_up = time.monotonic() + FORWARD_SECONDS

    def send() -> ForwardedAnswer:
        return client.forward(
            request.method,
            request.path,
            headers=request.headers,
            body=request.body,
            length=request.body.length,
            deadline=give_up - time.monotonic(),
            max_bytes=FORWARD_ANSWER_BYTES,
        )

    try:
        return send(), 1
    except Unreachable as problem:
        if not request.is_safe or problem.kind not in {"cut", "connect"}:
            raise
    return send(), 2


def peek(connection: Connection, path: str) -> Answer:
    """Like `get`, for a person who only looks: bounded like `get_raw`, and a refused token is left to a worker."""
    with _as_no_answer(connection), limits.slot(connection.code):
        try:
            return custody.client_for(connection).get(path, deadline=PERSON_WAITS_SECONDS, max_bytes=PERSON_WAITS_BYTES)
        except TokenRefused:
            connection.check_soon()
            raise


def ask_user(connection: Connection, *, deadline: float | None = None) -> Verdict:
    """What `/user` proves about the pair in use, which is renewed if it is refused.

    deadline: seconds for each call of `/user`, None for the client's own. Raises NotRenewed, NoTokens, CannotUnseal.
    """

    def check(client: Client) -> Verdict:
        return proof.check(client, company_id=connection.company_id, deadline=deadline)

    return _renewing(connection, check, refused=lambda it: it.refused, proved=lambda it: it.profile is not None)


def peek_user(connection: Connection) -> Verdict:
    """Like `ask_user`, for a person who only looks: nothing is renewed. Raises Busy, NoTokens, CannotUnseal."""
    with limits.slot(connection.code):
        return proof.check(custody.client_for(connection), company_id=connection.company_id)


def _is_refused(answer: RawAnswer) -> bool:
    return answer.status == 401 or answer.reported_kind == "token_refused"


def _is_proof(answer: RawAnswer) -> bool:
    return answer.status < 300 and not answer.reported_kind and error_answers.has_content(answer.json)


def _renewing(
    connection: Connection,
    call: Callable[[Client], Result],
    *,
    refused: Callable[[Result], bool],
    proved: Callable[[Result], bool],
) -> Result:
    """The result of the call; of a second one with a renewed token if the first one was refused."""
    client, in_use = custody.client_and_pair(connection)
    result = call(client)
    if refused(result):
        renewal.renew(connection, refused=in_use.pair_version)
        client, in_use = custody.client_and_pair(connection)
        result = call(client)
    if proved(result) and in_use.proved_at is None:
        custody.mark_proved(in_use.pair_version)
    return result


@contextmanager
def _as_no_answer(connection: Connection) -> Iterator[None]:
    """Raises NoAnswer in place of every error of a call but BadPath, and records what the error proves."""
    try:
        yield
    except BadPath:
        raise
    except SnapInspectError as error:
        is_outage = error.status is None or isinstance(error, Unreachable)
        wait = error.retry_after or 0.0
        raise NoAnswer(error.kind, is_outage=is_outage, status=error.status, retry_after=wait) from None
    except renewal.NotRenewed as problem:
        verdicts.record(connection, Verdict(error_kind=problem.error_kind, refused=problem.needs_person))
        raise NoAnswer(problem.error_kind, is_outage=not problem.needs_person) from None
    except limits.Busy:
        raise NoAnswer("busy", is_outage=True) from None
    except custody.NoTokens:
        raise NoAnswer("nothing_kept", is_outage=False) from None
    except CannotUnseal:
        verdicts.record(connection, Verdict(error_kind="cannot_unseal"))
        raise NoAnswer("cannot_unseal", is_outage=True) from None

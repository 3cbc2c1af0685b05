"""Calls of SnapInspect's API with one access token (or personal access token, which is used alike).

Vendor page, "API Endpoint": GET with `Authorization: Bearer`. `/user` is the only documented resource.
"""

import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from requests import PreparedRequest, Request
from requests_oauthlib.oauth2_auth import OAuth2

from integrations.snapinspect import error_answers, json_answers, profile, safe_urls, transport
from integrations.snapinspect.errors import BadPath, Garbled, SnapInspectError, TokenRefused, Unreachable, for_status
from integrations.snapinspect.json_answers import Json
from integrations.snapinspect.token_pair import NotSerializable, fingerprint, is_token

MAX_TRIES: Final = 4
# RFC 9110 section 9.2.1: they change nothing, and may be sent again.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# A JSON answer that is longer is content.
LONGEST_REPORT: Final = 64 * 1024
_TRIES = {"tls": 1, "dns": 2}  # a bad certificate stays bad, and a missing name rarely appears soon
_SHORTEST_PAUSE = 0.25
_LONGEST_PAUSE = 4.0


@dataclass(frozen=True, slots=True)
class Answer:
    """status: HTTP status (2xx). seconds: of the try that succeeded. size: bytes after decompression."""

    status: int
    seconds: float
    json: Json = field(repr=False)
    size: int


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer of any status, for a person to look at.

    json: the parsed answer, None where it is not JSON (or is the JSON null). text: the answer as it came. size: bytes
    that were read; is_cut: there was more. seconds: until the last byte.
    """

    status: int
    seconds: float
    json: Json = field(repr=False)
    text: str = field(repr=False)
    size: int
    is_cut: bool

    @property
    def reported_kind(self) -> str:
        """The kind of error that an answer with status 2xx reports; empty for none, and for other answers."""
        problem = error_answers.problem(self.json) if 200 <= self.status < 300 else ""
        return {"": "", "unauthorized": "token_refused", "failed": "reported_failure"}[problem]


@dataclass(frozen=True, slots=True)
class ForwardedAnswer:
    """An answer of any status, for whoever sent the request: its headers without those about the transfer.

    body: all of it, or its beginning of more than LONGEST_REPORT bytes. rest: what follows then, in pieces. Iterating
    raises Unreachable where the answer ends early, Garbled where it is too large or cannot be decoded; whoever does not
    read all of it calls its `close`.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    rest: Generator[bytes] | None = field(repr=False)

    @property
    def reports_refusal(self) -> bool:
        """Whether status 2xx carries a short JSON object that says "unauthorized" (see `error_answers`)."""
        if not 200 <= self.status < 300 or self.rest is not None:
            return False
        try:
            return error_answers.problem(json_answers.parse(self.body, hide=())) == "unauthorized"
        except Garbled:
            return False


class Client(NotSerializable):
    """Calls below one API base with one token. Cheap to create; connections are shared by the whole process.

    base: API address, with or without its last slash. token: ValueError if it cannot be one. refresh_token: never
    sent, only removed from answers that repeat it. deadline: seconds for a call, retries included. on_answer: called
    after each request with "ok" or the kind of error, and the seconds it took. Raises BadPath when the base is neither
    https nor an allowed loopback address.
    """

    def __init__(
        self,
        base: str,
        *,
        token: str,
        refresh_token: str = "",
        client_id: str = "",
        allow_loopback_http: bool = False,
        deadline: float = 15.0,
        over: transport.Transport | None = None,
        on_answer: Callable[[str, float], None] | None = None,
    ) -> None:
        safe_urls.require_secure(base, allow_loopback_http=allow_loopback_http)
        if not is_token(token):
            raise ValueError("A token is a non-empty string of visible ASCII characters.")
        self._base = base
        self._token = token
        self._tokens = [secret for secret in (token, refresh_token) if secret]
        bearer = {"access_token": token, "token_type": "Bearer"}
        self._sign = OAuth2(client_id, token=bearer)  # type: ignore[no-untyped-call]
        self._deadline = deadline
        self._transport = over or transport.shared()
        self._on_answer = on_answer or (lambda outcome, seconds: None)

    def __repr__(self) -> str:
        return f"<Client {fingerprint(self._token)}>"

    def user(self, *, deadline: float | None = None) -> profile.Profile:
        """Returns who the token belongs to. Raises what `get` raises, and Garbled("no_account") for other answers.

        deadline: seconds, retries included; None for the client's own.
        """
        try:
            answer = self._get("user", deadline=deadline).json
        except Garbled as garbled:
            if garbled.kind != "not_json":
                raise
            answer = None
        return profile.read_user(answer)

    def get(self, path: str, *, deadline: float | None = None, max_bytes: int = transport.MAX_BYTES) -> Answer:
        """Returns the JSON at `path` (below the base, a query allowed).

        deadline: seconds, retries included; None for the client's own. max_bytes: of the answer.

        Outages are retried, at most MAX_TRIES times and within the deadline. Raises BadPath, Unreachable, Refused,
        TokenRefused (at once: a 401 is never retried here) or Garbled. An object that reports a failure instead of data
        (see `error_answers`) is TokenRefused or Garbled, too.
        """
        answer = self._get(path, deadline=deadline, max_bytes=max_bytes)
        problem = error_answers.problem(answer.json)
        if problem == "unauthorized":
            raise TokenRefused("token_refused", status=answer.status)
        if problem:
            raise Garbled("reported_failure")
        return answer

    def _get(self, path: str, *, deadline: float | None = None, max_bytes: int = transport.MAX_BYTES) -> Answer:
        """Returns the JSON at `path`, whatever it says."""
        request = self._signed(path)
        give_up = time.monotonic() + (self._deadline if deadline is None else deadline)
        tries = 0
        while True:
            tries += 1
            try:
                reply = self._ask(request, deadline=give_up - time.monotonic(), max_bytes=max_bytes)
                error = reply.error()
                if error is None:
                    return Answer(
                        status=reply.status,
                        seconds=reply.seconds,
                        json=json_answers.parse(reply.body, hide=self._tokens),
                        size=len(reply.body),
                    )
            except Unreachable as unreachable:
                error = unreachable
            pause = _pause(error, tries)
            # Not beyond the deadline: the caller gets `retry_after` instead.
            if pause is None or time.monotonic() + pause >= give_up:
                raise error
            time.sleep(pause)

    def get_raw(self, path: str, *, deadline: float, max_bytes: int) -> RawAnswer:
        """Returns what SnapInspect answers at `path`, errors included. Never retried.

        deadline: seconds. max_bytes: the rest is not read. Raises BadPath, and Unreachable when there is no answer.
        """
        reply = self._ask(self._signed(path), deadline=deadline, max_bytes=max_bytes)
        if isinstance(reply.failure, Unreachable):
            raise reply.failure
        try:
            parsed = json_answers.parse(reply.body, hide=self._tokens)
        except Garbled:
            parsed = None
        return RawAnswer(
            status=reply.status,
            seconds=reply.seconds,
            json=parsed,
            text=json_answers.readable_text(reply.body, hide=self._tokens),
            size=len(reply.body),
            is_cut=reply.failure is not None,
        )

    def forward(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: Iterable[bytes],
        length: int,
        deadline: float,
        max_bytes: int,
    ) -> ForwardedAnswer:
        """Sends a request of any method once, and returns what SnapInspect answers, errors and redirects included.

        headers: in place of our own of these names. length: of the body. deadline: seconds until the last byte of the
        answer. max_bytes: of the answer. Raises BadPath, Unreachable when there is no complete answer, Garbled when it
        is too large, cannot be decoded or has no status of HTTP, and what iterating the body raises.
        """
        if method == "HEAD":
            # The length is that of the body as it comes back to a GET: uncompressed.
            headers = {**headers, "Accept-Encoding": "identity"}
        request = self._signed(path, method=method, headers=headers, body=body, length=length)
        started = time.monotonic()
        try:
            # On a kept connection it may be unknown whether the request arrived.
            reply = self._transport.open(
                request, deadline=deadline, max_bytes=max_bytes, fresh=method not in SAFE_METHODS
            )
            pieces = self._counted(reply, started)
            next(pieces)
        except Unreachable as unreachable:
            self._on_answer(unreachable.kind, time.monotonic() - started)
            raise
        if not 200 <= reply.status <= 599:
            pieces.close()
            raise Garbled("wrong_shape")
        kind = reply.headers.get("Content-Type", "").lower()
        is_text = not kind or any(part in kind for part in ("text/", "json", "xml", "urlencoded", "javascript"))
        is_long, start = False, bytearray()
        for piece in pieces:
            start += piece
            if len(start) > LONGEST_REPORT:
                is_long = True
                break
        rest = None
        if is_long:
            rest = json_answers.pieces_without_tokens(pieces, hide=self._tokens, is_text=is_text, start=bytes(start))
        return ForwardedAnswer(
            status=reply.status,
            headers={
                name: json_answers.without_tokens(
                    value.encode("latin-1", "replace"), hide=self._tokens, is_text=True
                ).decode("latin-1")
                for name, value in reply.headers.items()
            },
            body=next(rest) if rest else json_answers.without_tokens(bytes(start), hide=self._tokens, is_text=is_text),
            rest=rest,
        )

    def _counted(self, reply: transport.OpenReply, started: float) -> Generator[bytes]:
        """Yields nothing and then the answer's pieces; counts it at their end. Closed, it closes them."""
        problem = for_status(reply.status, retry_after=None)
        outcome = problem.kind if problem else "ok"
        try:
            with closing(reply.pieces):
                yield b""
                yield from reply.pieces
        except SnapInspectError as error:
            outcome = error.kind
            raise
        finally:
            self._on_answer(outcome, time.monotonic() - started)

    def _ask(self, request: PreparedRequest, *, deadline: float, max_bytes: int) -> transport.Reply:
        started = time.monotonic()
        try:
            reply = self._transport.send(request, deadline=deadline, max_bytes=max_bytes)
        except Unreachable as unreachable:
            self._on_answer(unreachable.kind, time.monotonic() - started)
            raise
        error = reply.error()
        self._on_answer(error.kind if error else "ok", reply.seconds)
        return reply

    def _signed(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: Iterable[bytes] = (),
        length: int = 0,
    ) -> PreparedRequest:
        """Returns the request, signed by requests-oauthlib."""
        unsigned = _unsigned(self._base, path)
        request = unsigned.copy()
        request.method = method
        request.headers.update(headers or {})
        if length or method in {"POST", "PUT", "PATCH"}:
            request.body = iter(body) if length else b""  # type: ignore[assignment]
            request.headers["Content-Length"] = str(length)

        def sign(url: str) -> str:
            request.url = url
            return str(self._sign(request).url)

        request.url = safe_urls.as_if_https(unsigned.url or "", sign)
        if request.url != unsigned.url:
            raise BadPath("outside_base")
        return request


@lru_cache(maxsize=256)
def _unsigned(base: str, path: str) -> PreparedRequest:
    """Returns the request without its token, cached. Raises BadPath."""
    request = Request("GET", safe_urls.join(base, path), headers=transport.HEADERS).prepare()
    # requests normalises URLs while preparing them: check where the result would go.
    if not safe_urls.is_below(base, request.url or ""):
        raise BadPath("outside_base")
    return request


def _pause(error: SnapInspectError, tries: int) -> float | None:
    """Returns seconds until the next try, None for no other try: exponential backoff with full jitter."""
    if not isinstance(error, Unreachable) or tries >= _TRIES.get(error.kind, MAX_TRIES):
        return None
    longest = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2 ** (tries - 1))
    jitter = random.uniform(0, longest)  # noqa: S311 (nothing secret hangs on it)
    return jitter if error.retry_after is None else error.retry_after + jitter

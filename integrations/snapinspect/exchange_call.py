"""The exchange call: new tokens for a refresh token.

Vendor page, "Token Exchange": a form-encoded POST with six required parameters, and JSON back. The exchange replaces
both tokens at once, so an answer that is lost or misread costs the connection. Hence our own POST and parser: OAuth
libraries add parameters, follow redirects with the secret, keep the old refresh token when a new one is missing, and
raise errors after the tokens were already replaced.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from requests import Request

from integrations.snapinspect import json_depth, safe_urls, transport
from integrations.snapinspect.errors import BadPath, Garbled, Refused
from integrations.snapinspect.json_answers import text_of
from integrations.snapinspect.token_pair import NotSerializable, TokenPair, is_token
from integrations.snapinspect.webhook_text import bare

# RFC 6749 section 5.2, without separators: what a refusal says is wrong with this app, and with this refresh token.
REFUSALS: Final = {
    "invalidclient": "exchange_refused",
    "unauthorizedclient": "exchange_refused",
    "invalidgrant": "grant_refused",
}
_MOST_OBJECTS: Final = 1000


@dataclass(frozen=True, slots=True)
class ClientCredentials(NotSerializable):
    """Our application's credentials at SnapInspect."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """pair: the new tokens; the old ones are dead. state_matches: whether the state we sent came back."""

    pair: TokenPair
    state_matches: bool


def exchange(
    exchange_url: str,
    *,
    credentials: ClientCredentials,
    redirect_uri: str,
    state: str,
    refresh_token: str,
    deadline: float,
    allow_loopback_http: bool = False,
    over: transport.Transport | None = None,
) -> Exchanged:
    """Returns the new pair from any answer that holds two tokens, whatever else is wrong with it. Never retried.

    redirect_uri: the registered one. deadline: seconds for everything. Raises Unreachable (`sent` False: certainly
    nothing happened; True: the tokens may have been replaced), Refused (of a kind in REFUSALS if the answer gives that
    reason), TokenRefused, Garbled, or BadPath when the address is neither https nor an allowed loopback address.
    """
    expected = safe_urls.require_secure(exchange_url, allow_loopback_http=allow_loopback_http)
    request = Request(
        "POST",
        exchange_url,
        headers=transport.HEADERS,
        data={
            "response_type": "code",
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
            "redirect_uri": redirect_uri,
            "state": state,
            "refresh_token": refresh_token,
        },
    ).prepare()
    if safe_urls.origin(request.url or "") != expected:
        raise BadPath("insecure")

    reply = (over or transport.shared()).send(request, deadline=deadline, fresh=True)
    answer = _read(reply.body)
    # Two tokens count first: a bad status or a broken connection after them does not undo the exchange.
    for found in _objects(answer):
        access, refresh = (_text(found.get(name)) for name in ("accesstoken", "refreshtoken"))
        if is_token(access) and is_token(refresh):
            return Exchanged(TokenPair(access, refresh), found.get("state") == state)
    for found in _objects(answer):
        for value in found.values():
            reason = bare(_text(value)[:100])
            if reason in REFUSALS:
                raise Refused(REFUSALS[reason], status=reply.status)
    raise reply.error() or Garbled("not_json" if answer is None else "wrong_shape", status=reply.status)


def _objects(answer: Any) -> Iterator[dict[str, Any]]:
    """Yields the objects of an answer, the outermost first, their names without case and separators."""
    waiting = [answer]
    for value in waiting:
        if isinstance(value, dict):
            yield {bare(name): inner for name, inner in reversed(value.items()) if inner not in (None, "")}
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and value.lstrip().startswith("{"):
            waiting.append(_parsed(value))
        if len(waiting) > _MOST_OBJECTS:
            return


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _read(body: bytes) -> Any:
    """Returns the JSON value in `body`, or the fields of a form as an object; None for neither.

    Lenient about everything but the tokens: numbers are skipped, and bytes that are no text are replaced.
    """
    text = text_of(body).strip()
    answer = _parsed(text)
    if answer is None and text[:1].isalpha() and "=" in text:
        return dict(parse_qsl(text)) or None
    return answer


def _parsed(text: str) -> Any:
    try:
        return json_depth.loads(text, strict=False, parse_int=_skip, parse_float=_skip, parse_constant=_skip)
    except (ValueError, json_depth.TooDeep):
        return None


def _skip(number: str) -> None:
    """A token is never a number."""

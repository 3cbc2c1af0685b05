"""The exchange call: new tokens for a refresh token.

Vendor page, "Token Exchange": a form-encoded POST with six required parameters, and JSON back. The exchange replaces
both tokens at once, so an answer that is lost or misread costs the connection. Hence our own POST and parser: OAuth
libraries add parameters, follow redirects with the secret, keep the old refresh token when a new one is missing, and
raise errors after the tokens were already replaced.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from requests import Request

from integrations.snapinspect import safe_urls, transport
from integrations.snapinspect.errors import BadPath, Garbled, Refused
from integrations.snapinspect.token_pair import NotSerializable, TokenPair, is_token

# RFC 6749 section 5.2, the member `error` of a refusal: what is wrong with this app, and with this refresh token.
REFUSALS = {
    "invalid_client": "exchange_refused",
    "unauthorized_client": "exchange_refused",
    "invalid_grant": "grant_refused",
}


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
    answer = _read_object(reply.body)
    access, refresh = (answer or {}).get("access_token"), (answer or {}).get("refresh_token")
    # Two tokens count first: a bad status or a broken connection after them does not undo the exchange.
    if is_token(access) and is_token(refresh):
        return Exchanged(TokenPair(str(access), str(refresh)), (answer or {}).get("state") == state)
    reason = next((str(value) for name, value in (answer or {}).items() if name.casefold() == "error"), "")
    reason = reason.strip().casefold()
    if reason in REFUSALS:
        raise Refused(REFUSALS[reason], status=reply.status)
    raise reply.error() or Garbled("not_json" if answer is None else "wrong_shape", status=reply.status)


def _read_object(body: bytes) -> dict[str, Any] | None:
    """Returns the JSON object in `body`, an empty one for other JSON, None for no JSON.

    Lenient about everything but the tokens: numbers are skipped, and bytes that are not UTF-8 are replaced.
    """
    text = body.decode("utf-8-sig", "replace")
    try:
        answer = json.loads(text, strict=False, parse_int=_skip, parse_float=_skip, parse_constant=_skip)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else {}


def _skip(number: str) -> None:
    """A token is never a number."""

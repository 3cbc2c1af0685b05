"""The authorization request and response, which travel through the customer's browser.

Vendor page, "SnapInspect Connect": both tokens come back in the query of the redirect URI. The response to a customer
who declines is not documented; `error` (RFC 6749 section 4.1.2.1) and an empty query are accepted. Two good tokens are
access, whatever stands beside them.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from requests_oauthlib.oauth2_session import OAuth2Session

from integrations.snapinspect import safe_urls
from integrations.snapinspect.token_pair import LONGEST_TOKEN, NO_TOKEN, TokenPair, is_token
from integrations.snapinspect.webhook_text import bare

# Characters: two of the longest tokens, and what belongs to them. nginx and gunicorn let twice as much through, so that
# whoever sends more gets a page of ours.
MAX_QUERY = 2 * LONGEST_TOKEN + 4000
MAX_PARAMETERS = 50
_STATE = re.compile(r"[\x21-\x7e]{1,512}")
_SINGLE = ("access_token", "token_type", "state", "refresh_token")
# Read in any case, with or without separators.
_NAMES = {bare(name): name for name in (*_SINGLE, "error")}


@dataclass(frozen=True, slots=True)
class AuthorizationResponse:
    """What arrived at the redirect URI.

    state: as received; None when missing, empty, repeated, too long or malformed.
    pair: the tokens, only when everything about them is valid.
    problem: why there are none: declined, no_token, no_access_token, no_refresh_token, duplicated, odd_token,
        not_bearer, too_long.
    """

    state: str | None
    pair: TokenPair | None
    problem: str | None


def authorization_url(
    connect_url: str, *, client_id: str, redirect_uri: str, state: str, allow_loopback_http: bool = False
) -> str:
    """Returns the URL that asks the customer for access, with exactly the four documented parameters.

    redirect_uri: the registered one, sent byte for byte. Raises BadPath when `connect_url` is neither https nor an
    allowed loopback address.
    """
    safe_urls.require_secure(connect_url, allow_loopback_http=allow_loopback_http)

    def build(url: str) -> str:
        with OAuth2Session(client_id, redirect_uri=redirect_uri) as session:  # type: ignore[no-untyped-call]
            return str(session.authorization_url(url, state=state)[0])  # type: ignore[no-untyped-call]

    return safe_urls.as_if_https(connect_url, build)


def read_response(query: str) -> AuthorizationResponse:
    """Reads the raw query string of the redirect URI. Never raises."""
    if len(query) > MAX_QUERY or query.count("&") >= MAX_PARAMETERS:
        return AuthorizationResponse(None, None, "too_long")
    found: dict[str, list[str]] = {}
    for parameter in query.lstrip("?#").split("&"):
        name, _, value = parameter.partition("=")
        # "&amp;" comes from an address that was escaped for HTML once too often.
        name = _NAMES.get(bare(_decoded(name.removeprefix("amp;"))), "")
        found.setdefault(name, []).append(_decoded(value).strip(" \t\r\n") if name != "state" else _decoded(value))

    state = found.get("state", [])
    known_state = state[0] if len(state) == 1 and _STATE.fullmatch(state[0]) else None
    if any(len(found.get(name, [])) > 1 for name in _SINGLE):
        return AuthorizationResponse(known_state, None, "duplicated")

    access, refresh, kind, error = (
        found.get(name, [""])[0] for name in ("access_token", "refresh_token", "token_type", "error")
    )
    access, refresh = ("" if token.lower() in NO_TOKEN else token for token in (access, refresh))
    problem = _problem(access, refresh, kind)
    if problem and error:
        problem = "declined"
    return AuthorizationResponse(known_state, None if problem else TokenPair(access, refresh), problem)


def _problem(access: str, refresh: str, kind: str) -> str | None:
    if not access and not refresh:
        return "no_token"
    if not access:
        return "no_access_token"
    if not refresh:
        return "no_refresh_token"
    if not (is_token(access) and is_token(refresh)):
        return "odd_token"
    if kind and kind.lower() != "bearer":
        return "not_bearer"
    return None


def _decoded(text: str) -> str:
    """Percent-decodes to one character per byte, which cannot fail. "+" stays "+": tokens hold no spaces."""
    return unquote_to_bytes(text.encode("utf-8", "surrogatepass")).decode("latin-1")

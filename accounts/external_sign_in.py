"""Signing in somebody who has shown who they are in another way than by a password.

allauth's own steps follow: an address that must still be confirmed, the second factor, a fresh session key.
"""

from allauth.account.utils import get_next_redirect_url, perform_login
from allauth.core import ratelimit
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.http import HttpRequest, HttpResponse

from accounts.models import User

NEXT_URL_KEY = "next_url_after_sign_in"


def begin(request: HttpRequest) -> HttpResponse | None:
    """Prepares this browser's session for a sign-in that leads elsewhere and back; or the answer that refuses it.

    The session gets a new key: one that was planted in this browser would let somebody else take the sign-in. Counted
    together with sign-ins by password.
    """
    refused: HttpResponse | None = ratelimit.consume_or_429(request, action="login")
    if refused is not None:
        return refused
    request.session[NEXT_URL_KEY] = next_url(request)
    request.session.cycle_key()
    return None


def next_url(request: HttpRequest) -> str:
    """The page of ours that the visitor wanted to see; empty for none, and for one elsewhere."""
    return get_next_redirect_url(request) or ""


def may_sign_in(user: User) -> bool:
    """Whether this person may come in here: the operator's staff only with a second factor, which is asked for."""
    factors = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]
    return bool(user.is_active and (not user.is_staff or is_mfa_enabled(user, factors)))


def complete(request: HttpRequest, user: User) -> HttpResponse:
    """Signs them in, or leads to what allauth still asks for; then to the page that they first wanted to see."""
    response: HttpResponse = perform_login(request, user, redirect_url=request.session.pop(NEXT_URL_KEY, "") or None)
    return response

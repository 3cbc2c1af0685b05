"""Signs in users who have proven their identity elsewhere instead of by a password.

allauth's own steps follow: an address that must still be confirmed, the second factor, a new session key.
"""

from allauth.account.utils import get_next_redirect_url, perform_login
from allauth.core import ratelimit
from django.http import HttpRequest, HttpResponse

from accounts.access import has_second_factor
from accounts.models import User

NEXT_URL_KEY = "next_url_after_sign_in"


def begin(request: HttpRequest) -> HttpResponse | None:
    """Prepares the session for a sign-in that redirects to another site and back.

    Returns None, or the response that refuses it: such sign-ins count against the same limit as those by password.
    The session gets a new key, because a key planted in this browser would let somebody else take over the sign-in.
    """
    refused: HttpResponse | None = ratelimit.consume_or_429(request, action="login")
    if refused is not None:
        return refused
    request.session[NEXT_URL_KEY] = next_url(request)
    request.session.cycle_key()
    return None


def next_url(request: HttpRequest) -> str:
    """The page of ours that the visitor asked for; empty if there is none, or if it is on another site."""
    return get_next_redirect_url(request) or ""


def may_sign_in(user: User) -> bool:
    """Whether this user may sign in this way; the operator's staff only with a second factor, which is asked for."""
    return user.is_active and (not user.is_staff or has_second_factor(user))


def complete(request: HttpRequest, user: User) -> HttpResponse:
    """Signs the user in, or redirects to what allauth still asks for; afterwards to the page they first asked for."""
    response: HttpResponse = perform_login(request, user, redirect_url=request.session.pop(NEXT_URL_KEY, "") or None)
    return response

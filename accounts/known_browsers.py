"""Browsers that a person has signed in with before, where wrong passwords from elsewhere do not keep them out.

Sign-in attempts for an address are limited (allauth's `login_failed`), so anybody who knows the address could lock its
owner out. Attempts from a known browser are counted for that browser alone, by the same limit. Its cookie is a "device
cookie" (OWASP, Slow Down Online Guessing Attacks with Device Cookies). Whoever steals it gains a few more guesses.
"""

import secrets
from datetime import timedelta
from typing import Any

from allauth.account.signals import user_logged_in
from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac

from accounts.models import User

# "__Host-" makes browsers refuse one that another host or a plain connection sets (RFC 6265bis section 4.1.3.2).
COOKIE = "__Host-known-browser" if settings.SESSION_COOKIE_SECURE else "known-browser"
LIFETIME = timedelta(days=180)  # since the last sign-in
MOST_PEOPLE = 5  # who share a browser
_SALT = "accounts.known_browsers"


def identify(request: HttpRequest | None, email: str) -> str:
    """The random name of this browser if somebody with this address has signed in with it, else empty."""
    return _known(request).get(_digest(email), "") if request else ""


def connect() -> None:
    """Called once, when the app is ready."""
    user_logged_in.connect(_remember, dispatch_uid="known_browsers")


def _remember(sender: Any, request: HttpRequest, response: HttpResponse, user: User, **_: Any) -> None:
    known, digest = _known(request), _digest(user.email)
    name = known.pop(digest, "") or secrets.token_urlsafe(12)
    latest = dict([*known.items(), (digest, name)][-MOST_PEOPLE:])
    response.set_cookie(
        COOKIE,
        signing.dumps(latest, salt=_SALT),
        max_age=LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _known(request: HttpRequest) -> dict[str, str]:
    try:
        known: dict[str, str] = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=LIFETIME)
    except signing.BadSignature:
        return {}
    return known


def _digest(email: str) -> str:
    """Stands for an address in the cookie. Short: equal ones of two addresses would do no harm."""
    return salted_hmac(_SALT, email.lower(), algorithm="sha256").hexdigest()[:16]

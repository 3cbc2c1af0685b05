import logging
import re
from collections.abc import Callable
from functools import cache
from smtplib import SMTPException
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils import timezone

from accounts.models import User

logger = logging.getLogger(__name__)


class IgnoreMalformedSessionCookie:
    """Takes a session cookie for absent that cannot be one of ours: PostgreSQL refuses to look for a NUL."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not re.fullmatch(r"[a-z0-9]{1,40}", request.COOKIES.get(settings.SESSION_COOKIE_NAME, "none")):
            del request.COOKIES[settings.SESSION_COOKIE_NAME]
        return self.get_response(request)


class LoginRequired(LoginRequiredMiddleware):
    """Asks for a sign-in, and leads back to a page: never to an address that only takes forms."""

    def handle_no_permission(self, request: HttpRequest, view_func: Any) -> HttpResponse:  # type: ignore[override]
        if "HX-Request" in request.headers and request.method == "GET":
            # A part of a page that asks for itself anew: the whole page has to, and is led to the sign-in.
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        if request.method in {"GET", "HEAD"}:
            return super().handle_no_permission(request, view_func)
        parts = request.path.split("/")
        back = f"/c/{parts[2]}/" if parts[1] == "c" and len(parts) > 2 else "/"
        return redirect_to_login(back, resolve_url(settings.LOGIN_URL))


class VisitorTimeZone:
    """Days and times of a page are those of the visitor: their browser says where it is in a cookie (static/app.js).

    Before the first answer, without JavaScript, or with a name that we do not know, they are in UTC and say so.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with timezone.override(_zone(request.COOKIES.get("timezone", ""))):
            return self.get_response(request)


def _zone(name: str) -> ZoneInfo | None:
    """None, the app's own, for any name that is not in the time zone database."""
    return ZoneInfo(name) if name in _zones() else None


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


class MailFailurePage:
    """Turns a mail server that is down into a calm page, for the account pages that send mail while one waits.

    Sign-up looks after itself: it also undoes what it has saved.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, problem: Exception) -> HttpResponse | None:
        if not isinstance(problem, (SMTPException, OSError)) or not request.path.startswith("/accounts/"):
            return None
        logger.error("Mail could not be sent (%s).", type(problem).__name__)
        return render(request, "accounts/mail_trouble.html", status=503)


class RequireStaffSecondFactor:
    """Leads staff who have no second factor to set one up before they see the admin, or anything below /staff/."""

    PLACES = ("/admin/", "/staff/")
    FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        if not settings.STAFF_NEED_SECOND_FACTOR or not request.path.startswith(self.PLACES):
            return None
        user = request.user
        if not isinstance(user, User) or not user.is_staff or is_mfa_enabled(user, self.FACTORS):
            return None
        messages.warning(request, "Staff need a second factor. Set one up here, and then come back.")
        return redirect("mfa_index")

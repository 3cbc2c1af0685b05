import logging
import re
from collections.abc import Callable
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.utils.deprecation import MiddlewareMixin

from accounts.access import has_second_factor
from accounts.models import User

logger = logging.getLogger(__name__)


class IgnoreSessionCookie(MiddlewareMixin):
    """Ignores a session cookie that cannot be ours: PostgreSQL refuses to look for a NUL."""

    def process_request(self, request: HttpRequest) -> None:
        if not re.fullmatch(r"[a-z0-9]{1,40}", request.COOKIES.get(settings.SESSION_COOKIE_NAME, "none")):
            del request.COOKIES[settings.SESSION_COOKIE_NAME]


class NoStore(MiddlewareMixin):
    """Forbids caches, the browser's too, to keep an answer to somebody who has a session, or who just got one."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if settings.SESSION_COOKIE_NAME in {*request.COOKIES, *response.cookies}:
            patch_cache_control(response, no_store=True, private=True)
        return response


class LoginRequired(LoginRequiredMiddleware):
    """Asks for a sign-in, and redirects back to a page, never to a URL that only accepts POST."""

    def handle_no_permission(self, request: HttpRequest, view_func: Any) -> HttpResponse:  # type: ignore[override]
        if "HX-Request" in request.headers and request.method == "GET":
            # A part of a page that reloads itself: let htmx reload the whole page, which redirects to the sign-in.
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        if request.method in {"GET", "HEAD"}:
            return super().handle_no_permission(request, view_func)
        parts = request.path.split("/")
        next_url = f"/c/{parts[2]}/" if parts[1] == "c" and len(parts) > 2 else "/"
        return redirect_to_login(next_url, resolve_url(settings.LOGIN_URL))


class VisitorTimeZone:
    """Shows times in the visitor's time zone, which static/app.js names in a cookie.

    In the first response, without JavaScript, or for an unknown name, times are in UTC and say so.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with timezone.override(_zone(request.COOKIES.get("timezone", ""))):
            return self.get_response(request)


def _zone(name: str) -> ZoneInfo | None:
    """None, which means TIME_ZONE, for a name that is not in the time zone database."""
    return ZoneInfo(name) if name in _zones() else None


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


class MailFailurePage(MiddlewareMixin):
    """Answers 503 with a page of its own when an account page cannot send its mail.

    Sign-up handles this itself, because it also has to undo what it has saved.
    """

    def process_exception(self, request: HttpRequest, problem: Exception) -> HttpResponse | None:
        if not isinstance(problem, OSError) or not request.path.startswith("/accounts/"):
            return None
        logger.error("Mail could not be sent (%s).", type(problem).__name__)
        return render(request, "accounts/mail_trouble.html", status=503)


class RequireStaffSecondFactor(MiddlewareMixin):
    """Redirects staff without a second factor to set one up before they see the admin or /staff/."""

    PATHS = ("/admin/", "/staff/")

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        if not settings.STAFF_NEED_SECOND_FACTOR or not request.path.startswith(self.PATHS):
            return None
        user = request.user
        if not isinstance(user, User) or not user.is_staff or has_second_factor(user):
            return None
        messages.warning(request, "Staff need a second factor. Set one up here first.")
        return redirect("mfa_index")

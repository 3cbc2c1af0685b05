"""Answers calls of the API without the middleware of pages, and has what holds for all of them."""

import re
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import resolve
from django.utils.cache import patch_cache_control

from integrations.api import keys, proxy
from integrations.api.access import Caller, rate_limit_headers
from integrations.api.problems import Problem
from integrations.api.urls import api

PREFIX = "/api/v1/"
MOST_BYTES = 64 * 1024
# Of each answer. A browser that is made to show what SnapInspect has answered runs nothing in it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Frame-Options": "DENY",
}


class ApiMiddleware:
    """Middleware that answers calls of the API without the middleware below it: sessions, sign-in, CSRF, pages.

    Those took as long as all else of a call. A key is asked for, no cookie counts, and whatever is wrong is a problem.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PREFIX):
            return self._get_response(request)
        try:
            response = _answer(request)
        except Exception as problem:
            response = api.on_exception(request, problem)
        caller: Caller | None = getattr(request, "api_caller", None)
        for name, value in {**_HEADERS, **(rate_limit_headers(caller.key) if caller else {})}.items():
            response[name] = value
        patch_cache_control(response, no_store=True)
        if isinstance(response, HttpResponse) and "Content-Length" not in response:
            response["Content-Length"] = str(len(response.content))
        return response


def _answer(request: HttpRequest) -> HttpResponseBase:
    """What the view answers. Raises Problem for a request that must not be looked at any further."""
    _check_address(request)
    match = request.resolver_match = resolve(request.path_info)
    if match.url_name == "proxy":
        _check_length(request, most=proxy.MOST_BYTES)
    else:
        _check_length(request, most=MOST_BYTES)
        _check_is_json(request)
    response: HttpResponseBase = match.func(request, **match.kwargs)
    if response.status_code == 405 and proxy.ATTEMPTS not in response:
        allowed = {"Allow": response.headers.get("Allow", "")}
        raise Problem("method-not-allowed", "Allow names the methods that this address takes.", headers=allowed)
    return response


def _check_address(request: HttpRequest) -> None:
    try:
        request.get_host()
    except DisallowedHost:
        raise Problem("bad-request", "Send a Host that the operator lists in ALLOWED_HOSTS.") from None
    if settings.SECURE_SSL_REDIRECT and not request.is_secure():
        raise Problem("https-required", "Use https. Revoke the key, if you have sent it: others may have read it.")
    if re.search(keys.PATTERN, f"{request.path}?{request.META.get('QUERY_STRING', '')}"):
        raise Problem(
            "key-in-url", "Send keys in the header Authorization only, and revoke this one: addresses are logged."
        )


def _check_length(request: HttpRequest, *, most: int) -> None:
    if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        raise Problem("length-required", "Send the body with a Content-Length.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > most:
        raise Problem("too-large", f"A body has {most} bytes at most.")


def _check_is_json(request: HttpRequest) -> None:
    if int(request.META.get("CONTENT_LENGTH") or 0) and request.content_type != "application/json":
        raise Problem("not-json", "Send JSON, with the header “Content-Type: application/json”.")
